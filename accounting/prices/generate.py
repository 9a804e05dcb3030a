"""Writes prices.json anew: python3 generate.py LITELLM_JSON DATE

LITELLM_JSON is `litellm/model_prices_and_context_window_backup.json` of a release of the PyPI package litellm, DATE the day of
that release. A model of the catalogue that the file does not price keeps the line that it has, with the date of that line."""
import json, os, re, sys
from decimal import Decimal

here = os.path.dirname(os.path.abspath(__file__))
theirs = json.load(open(sys.argv[1]))
date = sys.argv[2]
ours = json.load(open(os.path.join(here, 'prices.json')))
catalogue = open(os.path.join(here, '../src/catalogue.rs')).read()

PREFIXES = {'openai': [''], 'anthropic': [''], 'google': ['gemini/'], 'mistral': ['mistral/'], 'deepseek': ['deepseek/', ''],
            'qwen': ['dashscope/']}
models = [('openai', name) for name in re.findall(r'openai\(\s*"([^"]+)"', catalogue)]
models += [(provider.lower(), name) for provider, name in re.findall(r'roughly\(\s*(\w+),\s*"([^"]+)"', catalogue)]


def entry(provider, name):
    """Theirs of that name, else the newest of its dated ones."""
    for prefix in PREFIXES.get(provider, []):
        for spelt in [name, f'{name}-latest', f'{name}-preview', f'open-{name}']:
            if 'input_cost_per_token' in theirs.get(prefix + spelt, {}) or 'tiered_pricing' in theirs.get(prefix + spelt, {}):
                return theirs[prefix + spelt]
        dated = re.compile(re.escape(prefix + name) + r'-(\d{4}|\d{8}|\d{4}-\d\d-\d\d)$')
        found = sorted(key for key in theirs if dated.match(key) and 'input_cost_per_token' in theirs[key])
        if found:
            return theirs[found[-1]]
    return None


def dollars(per_token):
    """Dollars per million tokens, to the micro-dollar."""
    amount = (Decimal(str(per_token)) * 1_000_000).quantize(Decimal('0.000001'))
    text = f'{amount:f}'.rstrip('0').rstrip('.')
    whole, _, fraction = text.partition('.')
    return f'{whole}.{fraction:0<2}'


def rates(entry, above='', batch=''):
    of = lambda what: entry.get(what + above + batch)
    if of('input_cost_per_token') is None:
        return None
    line = {'input': dollars(of('input_cost_per_token'))}
    for ours, name in [('cached_input', 'cache_read_input_token_cost'), ('cache_write', 'cache_creation_input_token_cost')]:
        if of(name):
            line[ours] = dollars(of(name))
    # A price of the cache that is above the input's is no discount.
    if 'cached_input' in line and Decimal(line['cached_input']) > Decimal(line['input']):
        del line['cached_input']
    line['output'] = dollars(of('output_cost_per_token') or 0)
    return line


def tier(entry, above=''):
    line = rates(entry, above)
    batch = rates(entry, above, '_batches')
    return {**line, **({'batch': batch} if batch else {})} if line else None


def line(entry):
    if 'tiered_pricing' in entry:
        tiers = [(int(part['range'][0]), tier(part)) for part in entry['tiered_pricing'] if tier(part)]
    else:
        lengths = {int(length) for key in entry for length in re.findall(r'^input_cost_per_token_above_(\d+)k_tokens$', key)}
        tiers = [(0, tier(entry))] + [(1000 * k, tier(entry, f'_above_{k}k_tokens')) for k in sorted(lengths)]
    found = dict(tiers[0][1])
    if tiers[1:]:
        found['long_context'] = [{'above': above, **rest} for above, rest in tiers[1:]]
    source = entry.get('source', '')
    found['as_of'], found['source'] = date, source if source.startswith('https://') else 'https://github.com/BerriAI/litellm'
    return found


lines = {}
for provider, name in models:
    key, found = f'{provider}/{name}', entry(provider, name)
    if found and found.get('input_cost_per_token', 1) > 0:
        lines[key] = line(found)
    elif key in ours['models']:
        old = ours['models'][key]
        lines[key] = {**old, 'as_of': old.get('as_of', ours['as_of']), 'source': old.get('source', ours['source'])}
with open(os.path.join(here, 'prices.json'), 'w') as file:
    body = ',\n'.join(f'    {json.dumps(key)}: {json.dumps(value)}' for key, value in lines.items())
    file.write(f'{{\n  "as_of": "{date}",\n  "source": "https://github.com/BerriAI/litellm",\n  "models": {{\n{body}\n  }}\n}}\n')
