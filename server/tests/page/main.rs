//! The page in a browser, in front of a server with the demo model. `BITNET_TEST_CHROMIUM` names
//! the browser: Chromium, or one that speaks its protocol.

mod browser;
#[path = "../client/mod.rs"]
#[expect(dead_code, reason = "the API's tests need more of it")]
mod client;
#[path = "../running/mod.rs"]
mod running;

use std::time::Duration;

use bitnet_engine::TemplateChoice;
use bitnet_fixtures::{DataTest, data_tests};
use bitnet_server::Keys;
use browser::{Browser, Page};
use running::{Running, options};
use serde_json::json;

const CHROMIUM: &str = "BITNET_TEST_CHROMIUM";

fn main() {
    data_tests! {
        a_conversation_streams_stops_and_branches_and_is_there_again_after_a_reload: CHROMIUM;
        an_answer_is_repeated_to_the_bit_by_a_link_that_no_server_sees: CHROMIUM;
        another_server_says_that_it_is_another_and_where_its_answer_differs: CHROMIUM;
        settings_are_those_of_the_request_and_what_is_wrong_is_said_beside_the_field: CHROMIUM;
        nothing_that_a_model_writes_runs_or_is_fetched: CHROMIUM;
        markdown_is_shown_as_what_it_says: CHROMIUM;
        no_text_keeps_the_page_from_showing_it: CHROMIUM;
        thoughts_are_folded: CHROMIUM;
        a_key_is_asked_for_and_forgotten_with_the_tab: CHROMIUM;
        what_goes_wrong_is_said_in_plain_words: CHROMIUM;
        all_of_it_can_be_reached_and_read_without_eyes_or_a_mouse: CHROMIUM;
    }
}

fn browser() -> Browser {
    Browser::start(&DataTest::data(CHROMIUM))
}

/// The last turn, and parts of it.
const LAST: &str = "document.querySelector('#thread > li:last-child')";

impl Page<'_> {
    /// Waits until the model can be asked.
    fn is_ready(&self) {
        self.until("document.querySelector('#state').className === 'ready'");
    }

    /// Sends a message.
    fn send(&self, message: &str) {
        self.eval("document.querySelector('#message').focus()");
        self.write(message);
        self.press("Enter");
    }

    /// Waits until there are so many turns, the last of which is an answer that has ended.
    fn has_answered(&self, turns: usize) {
        self.until(&format!(
            "document.querySelectorAll('#thread > li').length === {turns}
             && !document.body.classList.contains('running')
             && !{LAST}.querySelector('.figures').hidden"
        ));
    }

    /// Presses a button of the last turn.
    fn act(&self, act: &str) {
        self.click(&format!("#thread > li:last-child [data-act={act}]"));
    }

    fn last(&self, part: &str) -> String {
        self.text(&format!("{LAST}.querySelector('{part}').textContent"))
    }

    /// What a figure of the last answer says.
    fn figure(&self, name: &str) -> String {
        self.text(&format!(
            "[...{LAST}.querySelectorAll('dt')]
                .find(term => term.textContent === '{name}')?.nextSibling.textContent ?? ''"
        ))
    }

    fn set(&self, field: &str, value: &str) {
        self.eval(&format!(
            "(field => {{
                field.value = {};
                field.dispatchEvent(new Event('change'));
            }})(document.querySelector('#p-{field}'))",
            json!(value)
        ));
    }

    /// Keeps what is copied, as a browser without a window may have no clipboard.
    fn catches_copies(&self) {
        self.eval(
            "{ window.copied = '';
             const writeText = async (text) => { window.copied = text; };
             Object.defineProperty(navigator, 'clipboard', { value: { writeText } }); }",
        );
    }

    /// The link to the last answer.
    fn link(&self) -> String {
        self.catches_copies();
        self.act("link");
        self.until("window.copied");
        self.text("window.copied")
    }

    #[track_caller]
    fn complains_of_nothing(&self) {
        assert_eq!(self.complaints(), [""; 0]);
    }
}

fn a_conversation_streams_stops_and_branches_and_is_there_again_after_a_reload() {
    let (server, browser) = (Running::start(options()), browser());
    let page = browser.open(server.site.0, "/");
    page.is_ready();
    page.set("max_tokens", "16");
    page.send("Who is there?");
    page.has_answered(2);
    let first = page.last(".text");
    assert!(!first.is_empty());
    assert_eq!(page.figure("answer"), "16 tokens");
    assert!(page.figure("speed").ends_with(" tokens/s"));
    assert!(page.figure("first token").ends_with(" s"));
    assert!(page.figure("fingerprint").starts_with("fp_"));
    assert_ne!(page.figure("seed"), "");

    // Once more: another seed, and another version beside the first.
    page.act("regenerate");
    page.until(&format!(
        "{LAST}.querySelector('.versions > span').textContent === '2 of 2'"
    ));
    page.has_answered(2);
    assert_ne!(page.last(".text"), first);
    page.click("#thread > li:last-child [aria-label='Version before']");
    assert_eq!(page.last(".text"), first);

    // It comes in parts, and stops.
    page.set("max_tokens", "");
    page.send("And then?");
    page.until(&format!(
        "{LAST}.classList.contains('busy') && {LAST}.querySelector('.text').textContent.length > 20"
    ));
    page.press("Escape");
    page.has_answered(4);
    assert_eq!(page.figure("ended"), "when you stopped it");
    page.act("repeat");
    page.until(&format!("{LAST}.querySelector('.verdict.same')"));
    assert!(
        page.last(".verdict")
            .contains("as far as it was not stopped")
    );

    // Another first question: the conversation begins anew, and the old one is still there.
    page.set("max_tokens", "8");
    page.click("#thread > li:first-child [data-act=edit]");
    page.eval("document.activeElement.select()");
    page.write("Who else?");
    page.press("Enter");
    page.has_answered(2);
    assert_eq!(
        page.text("document.querySelector('#thread > li .text').textContent"),
        "Who else?"
    );
    page.click("#thread > li:first-child [aria-label='Version before']");
    page.until("document.querySelectorAll('#thread > li').length === 4");

    // Loaded again, it is as it was; cleared, it is gone.
    let shown = page.text("document.querySelector('#thread').textContent");
    page.reload();
    page.is_ready();
    assert_eq!(
        page.text("document.querySelector('#thread').textContent"),
        shown
    );
    page.click("#clear");
    page.click("#clear-dialog .main");
    page.until("document.querySelectorAll('#thread > li').length === 0");
    assert!(
        !page
            .text("sessionStorage.getItem('bitnet.conversation')")
            .contains("Who")
    );
    page.complains_of_nothing();
}

fn an_answer_is_repeated_to_the_bit_by_a_link_that_no_server_sees() {
    let (server, browser) = (Running::start(options()), browser());
    let page = browser.open(server.site.0, "/");
    page.is_ready();
    page.set("max_tokens", "24");
    page.set("system", "Speak as a king.");
    page.set("temperature", "1.3");
    page.set("stop", "\\n\\n");
    // More bits than a number of JavaScript has.
    page.set("seed", "18446744073709551557");
    page.send("Who is there, “Romeo”?");
    page.has_answered(2);
    assert_eq!(page.figure("seed"), "18446744073709551557");
    let answer = page.last(".text");
    let once = generated(&server);
    let link = page.link();
    assert!(link.contains("/#answer="));
    page.complains_of_nothing();

    let other = browser.open(server.site.0, &link[link.find("/#").unwrap()..]);
    other.is_ready();
    other.until(&format!(
        "{LAST}?.querySelector('.verdict').textContent.includes('has the same fingerprint')"
    ));
    assert_eq!(other.last(".text"), answer);
    // It asks the model only where somebody wants it to.
    assert_eq!(generated(&server), once);
    other.act("repeat");
    other.until(&format!("{LAST}.querySelector('.verdict.same')"));
    assert!(other.last(".verdict").starts_with("The same to the bit: "));
    assert_eq!(generated(&server), 2 * once);

    // What is no link is no conversation.
    for broken in [
        "#answer=",
        "#answer=AAAA",
        "#answer=!",
        &link[link.find('#').unwrap()..link.len() - 9],
    ] {
        let page = browser.open(server.site.0, &format!("/{broken}"));
        page.until(
            "document.querySelector('#foot').textContent.startsWith('The link cannot be read')",
        );
        assert_eq!(
            page.eval("document.querySelectorAll('#thread > li').length"),
            0
        );
    }
    other.complains_of_nothing();
}

/// Tokens that a server has generated.
fn generated(server: &Running) -> u64 {
    let metrics = server.site.get("/metrics").body;
    let line = metrics
        .lines()
        .find(|line| line.starts_with("vllm:generation_tokens_total"));
    let (_, figure) = line.expect("a figure").rsplit_once(' ').expect("a value");
    figure.parse().expect("a number")
}

fn another_server_says_that_it_is_another_and_where_its_answer_differs() {
    let (server, browser) = (Running::start(options()), browser());
    let page = browser.open(server.site.0, "/");
    page.is_ready();
    page.set("max_tokens", "16");
    page.set("temperature", "0");
    page.send("Who is there?");
    page.has_answered(2);
    let link = page.link();
    let path = &link[link.find("/#").unwrap()..];

    // Another context is another fingerprint, though here the same answer.
    let short = Running::start(options().context(64));
    let page = browser.open(short.site.0, path);
    page.is_ready();
    page.until(&format!(
        "{LAST}?.querySelector('.verdict').textContent.includes('another fingerprint')"
    ));
    page.act("repeat");
    page.until(&format!("{LAST}.querySelector('.verdict.same')"));

    // Another template reads other tokens.
    let template = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(template.path(), "{{ messages[0].content }}!").unwrap();
    let template = TemplateChoice::of_argument(&template.path().display().to_string()).unwrap();
    let other = Running::start(options().template(template));
    let page = browser.open(other.site.0, path);
    page.is_ready();
    page.until(&format!(
        "{LAST}?.querySelector('.verdict').textContent.includes('another fingerprint')"
    ));
    page.act("repeat");
    page.until(&format!("{LAST}.querySelector('.verdict.wrong')"));
    let verdict = page.last(".verdict");
    assert!(
        verdict.starts_with("The answer differs from character "),
        "{verdict}"
    );
    assert!(verdict.contains("The fingerprints differ"), "{verdict}");
    page.complains_of_nothing();
}

fn settings_are_those_of_the_request_and_what_is_wrong_is_said_beside_the_field() {
    let (server, browser) = (Running::start(options()), browser());
    let page = browser.open(server.site.0, "/");
    page.is_ready();
    page.eval(
        "{ const { fetch } = window;
         window.fetch = (path, options) => {
             window.asked = options?.body;
             return fetch(path, options);
         }; }",
    );
    for (field, value) in [
        ("system", "Be brief."),
        ("temperature", "0.7"),
        ("top_p", ".9"),
        ("top_k", "40"),
        ("min_p", "0.05"),
        ("repeat_penalty", "1.1"),
        ("presence_penalty", "-0.5"),
        ("frequency_penalty", "0.25"),
        ("max_tokens", "5"),
        ("seed", "-1"),
        ("stop", "one\\n\nt\\\\wo"),
    ] {
        page.set(field, value);
    }
    page.send("Hm?");
    page.has_answered(2);
    let asked: serde_json::Value = serde_json::from_str(&page.text("window.asked")).unwrap();
    assert_eq!(
        asked,
        json!({
            "messages": [
                { "role": "system", "content": "Be brief." },
                { "role": "user", "content": "Hm?" },
            ],
            "temperature": 0.7, "top_p": 0.9, "top_k": 40, "min_p": 0.05, "repeat_penalty": 1.1,
            "presence_penalty": -0.5, "frequency_penalty": 0.25, "max_tokens": 5, "seed": -1,
            "stop": ["one\n", "t\\wo"],
            "stream": true, "stream_options": { "include_usage": true },
        })
    );
    for (field, value) in [
        ("temperature", "hot"),
        ("temperature", "0,7"),
        ("temperature", "-1"),
        ("top_p", "1.5"),
        ("top_k", "1.5"),
        ("max_tokens", "-3"),
        ("seed", "18446744073709551616"),
        ("seed", "1e3"),
    ] {
        page.set(field, value);
        page.send("More?");
        page.until(&format!("document.activeElement.id === 'p-{field}'"));
        assert_eq!(page.text("document.activeElement.ariaInvalid"), "true");
        assert!(
            page.text(&format!("document.querySelector('#n-{field}').textContent"))
                .starts_with("This ")
        );
        // Nothing was sent, and the message is still there.
        assert_eq!(
            page.eval("document.querySelectorAll('#thread > li').length"),
            2
        );
        assert_eq!(
            page.text("document.querySelector('#message').value"),
            "More?"
        );
        page.eval("document.querySelector('#message').value = ''");
        page.set(field, "");
    }
    page.complains_of_nothing();
}

/// Events of a stream that says this.
fn events(thought: &str, text: &str) -> String {
    let chunk = |choices: serde_json::Value, usage: serde_json::Value| {
        let chunk = json!({ "system_fingerprint": "fp_0", "choices": choices, "usage": usage });
        format!("data: {chunk}\n\n")
    };
    let mut events = String::new();
    for (name, text) in [("reasoning_content", thought), ("content", text)] {
        let characters: Vec<char> = text.chars().collect();
        for part in characters.chunks(1 + characters.len() / 2000) {
            let part = String::from_iter(part);
            events += &chunk(
                json!([{ "delta": { name: part }, "finish_reason": null }]),
                json!(null),
            );
        }
    }
    events += &chunk(
        json!([{ "delta": {}, "finish_reason": "stop" }]),
        json!(null),
    );
    events += &chunk(
        json!([]),
        json!({ "prompt_tokens": 1, "completion_tokens": 2 }),
    );
    events + "data: [DONE]\n\n"
}

fn nothing_that_a_model_writes_runs_or_is_fetched() {
    let hostile = include_str!("hostile.txt");
    let (server, browser) = (Running::start(options()), browser());
    let page = browser.open(server.site.0, "/");
    page.is_ready();
    page.eval("window.ran = []; window.alert = (what) => window.ran.push(what)");
    page.answer_with(&events(hostile, hostile));
    page.send("Attack!");
    page.has_answered(2);
    page.click("#thread > li:last-child summary");
    // Every link, and whatever an attribute could start.
    page.eval(&format!(
        "for (const node of {LAST}.querySelectorAll('.prose *'))
             for (const kind of ['mouseover', 'focus', 'error', 'load', 'toggle'])
                 node.dispatchEvent(new Event(kind));"
    ));
    std::thread::sleep(Duration::from_millis(300));
    assert_eq!(page.eval("window.ran"), json!([]));
    assert_eq!(
        page.last(".text").matches("alert(").count(),
        page.last(".thought .prose").matches("alert(").count()
    );
    assert!(page.last(".text").contains("<script>alert(1)</script>"));
    let kinds = page.eval(&format!(
        "[...new Set([...{LAST}.querySelectorAll('.prose *')].map(node => node.nodeName))].sort()"
    ));
    let allowed = [
        "A",
        "BLOCKQUOTE",
        "BR",
        "BUTTON",
        "CODE",
        "DEL",
        "DIV",
        "EM",
        "FIGCAPTION",
        "FIGURE",
        "H3",
        "H4",
        "H5",
        "H6",
        "HR",
        "LI",
        "OL",
        "P",
        "PRE",
        "SPAN",
        "STRONG",
        "TABLE",
        "TBODY",
        "TD",
        "TH",
        "THEAD",
        "TR",
        "UL",
    ];
    for kind in kinds.as_array().unwrap() {
        assert!(allowed.contains(&kind.as_str().unwrap()), "{kind}");
    }
    let attributes = page.eval(&format!(
        "[...new Set([...{LAST}.querySelectorAll('.prose *')]
            .flatMap(node => node.getAttributeNames()))].sort()"
    ));
    assert_eq!(
        attributes,
        json!([
            "aria-label",
            "class",
            "href",
            "rel",
            "role",
            "tabindex",
            "target",
            "title",
            "type"
        ])
    );
    let links = page.eval(&format!(
        "[...{LAST}.querySelectorAll('.text a')].map(a => [a.protocol, a.rel, a.target])"
    ));
    assert!(!links.as_array().unwrap().is_empty());
    for link in links.as_array().unwrap() {
        assert!(link[0] == "http:" || link[0] == "https:", "{link}");
        assert_eq!(
            (&link[1], &link[2]),
            (&json!("noopener noreferrer"), &json!("_blank"))
        );
    }
    let fetched = page
        .eval("performance.getEntriesByType('resource').map(entry => new URL(entry.name).host)");
    let own = json!(server.site.0.to_string());
    assert!(
        fetched.as_array().unwrap().iter().all(|host| *host == own),
        "{fetched}"
    );
    page.complains_of_nothing();

    // And were something to come in by another way, the policy would not have it.
    page.eval(
        "window.stopped = [];
         addEventListener('securitypolicyviolation', (event) =>
             stopped.push(event.effectiveDirective));
         fetch('http://127.0.0.1:1/').catch(() => {});
         new Image().src = 'http://127.0.0.1:1/';
         document.body.setAttribute('style', 'color: red');",
    );
    page.until("window.stopped.length === 3");
    for attempt in [
        "document.body.innerHTML = '<p>'",
        "document.createElement('script').text = 'alert(1)'",
        "document.body.insertAdjacentHTML('beforeend', '<p>')",
        "document.write('<p>')",
    ] {
        let outcome =
            format!("(() => {{ try {{ {attempt}; }} catch (error) {{ return error.name; }} }})()");
        assert_eq!(page.eval(&outcome), "TypeError", "{attempt}");
    }
}

fn markdown_is_shown_as_what_it_says() {
    let (server, browser) = (Running::start(options()), browser());
    let page = browser.open(server.site.0, "/");
    page.is_ready();
    let mut turns = 0;
    let mut shown = |text: &str| {
        page.answer_with(&events("", text));
        page.send("Write.");
        turns += 2;
        page.has_answered(turns);
        page.text(&format!(
            "{LAST}.querySelector('.text').innerHTML
                .replace(/ (title|target|rel)=\"[^\"]*\"/g, '')
                .replace(/<figure>[^]*?<\\/figure>/g, 'CODE')
                .replace(/<div class=\"wide\"[^>]*>([^]*?)<\\/div>/g, '$1')"
        ))
    };
    for (text, html) in [
        ("# A *b*\ntext", "<h3>A <em>b</em></h3><p>text</p>"),
        ("## C# ##", "<h4>C#</h4>"),
        ("#no", "<p>#no</p>"),
        ("a\nb\n\nc", "<p>a<br>b</p><p>c</p>"),
        (
            "**a** __b__ *c* _d_ ~~e~~ ***f***",
            "<p><strong>a</strong> <strong>b</strong> <em>c</em> <em>d</em> <del>e</del> \
             <strong><em>f</em></strong></p>",
        ),
        (
            "2 * 3 * 4 snake_case_name ** a",
            "<p>2 * 3 * 4 snake_case_name ** a</p>",
        ),
        ("**a *b***", "<p><strong>a <em>b</em></strong></p>"),
        (
            "\\*a\\* `\\*b*` ``c`d``",
            "<p>*a* <code>\\*b*</code> <code>c`d</code></p>",
        ),
        ("`open **a**", "<p>`open <strong>a</strong></p>"),
        (
            "- a\n- b\n  - c\n\n  d",
            "<ul><li><p>a</p></li><li><p>b</p><ul><li>c</li></ul><p>d</p></li></ul>",
        ),
        (
            "- a\n  - b\n    - c\n- d",
            "<ul><li>a<ul><li>b<ul><li>c</li></ul></li></ul></li><li>d</li></ul>",
        ),
        (
            "3. a\n4. b\n\nc",
            "<ol start=\"3\"><li>a</li><li>b</li></ol><p>c</p>",
        ),
        (
            "1. a\n   ```\n   x\n     y\n   ```\n2. b",
            "<ol><li>aCODE</li><li>b</li></ol>",
        ),
        (
            "> a\n> > b\n\nc",
            "<blockquote><p>a</p><blockquote><p>b</p></blockquote></blockquote><p>c</p>",
        ),
        ("a\n***\nb", "<p>a</p><hr><p>b</p>"),
        (
            "[a *b*](https://x.org/y_(z) \"t\")",
            "<p><a href=\"https://x.org/y_(z)\">a <em>b</em></a></p>",
        ),
        ("[a](x.html) [b] (c)", "<p>[a](x.html) [b] (c)</p>"),
        (
            "See https://x.org/a_b_c. (http://y.org)",
            "<p>See <a href=\"https://x.org/a_b_c\">https://x.org/a_b_c</a>. \
             (<a href=\"http://y.org/\">http://y.org</a>)</p>",
        ),
        (
            "| a | b |\n|:-:|--:|\n| `x` | y \\| z |\n| 1 |",
            "<table><thead><tr><th class=\"center\">a</th><th class=\"right\">b</th></tr></thead>\
             <tbody><tr><td class=\"center\"><code>x</code></td><td class=\"right\">y | z</td></tr>\
             <tr><td class=\"center\">1</td><td class=\"right\"></td></tr></tbody></table>",
        ),
        ("a | b\nc", "<p>a | b<br>c</p>"),
        ("<b>&amp;</b>", "<p>&lt;b&gt;&amp;amp;&lt;/b&gt;</p>"),
    ] {
        let found = shown(text);
        assert_eq!(found, html, "{text}");
    }
    // Code is what was written, tabs and all, while it comes and when it is copied.
    shown("```make\nall:\n\tcc  *a*\n\n```\nb");
    page.catches_copies();
    page.click("#thread > li:last-child figure button");
    page.until("window.copied === 'all:\\n\\tcc  *a*\\n'");
    assert_eq!(page.last("figcaption span"), "make");
    page.complains_of_nothing();
}

fn no_text_keeps_the_page_from_showing_it() {
    let (server, browser) = (Running::start(options()), browser());
    let page = browser.open(server.site.0, "/");
    page.is_ready();
    let long = |text: &str| text.repeat(20_000 / text.len());
    let nested = |n: usize, open: &str, close: &str| open.repeat(n) + "a" + &close.repeat(n);
    let deeper = (0..150).map(|i| format!("{}- a\n", " ".repeat(2 * i)));
    let texts = [
        long("["),
        long("`"),
        long("**a "),
        long("[]("),
        long("![a]("),
        long("_a*b"),
        long("> "),
        long("+ "),
        long("`a ``b ```c "),
        long("|") + "\n" + &long("|-"),
        long("http://"),
        long("\\"),
        nested(1000, "[", "](javascript:0)"),
        nested(1000, "[", "](http://x.org)"),
        nested(1000, "*a **b ", " c** d*"),
        deeper.collect(),
    ];
    for (i, text) in texts.iter().enumerate() {
        page.answer_with(&events("", text));
        page.send("Write.");
        page.has_answered(2 * i + 2);
        let shown = page.last(".text");
        assert!(!shown.is_empty(), "{}", &text[..20]);
    }
    page.complains_of_nothing();
}

fn thoughts_are_folded() {
    // A template that opens a thought, which the demo model never ends.
    let template = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(template.path(), "{{ messages[0].content }}<think>\n").unwrap();
    let template = TemplateChoice::of_argument(&template.path().display().to_string()).unwrap();
    let (server, browser) = (Running::start(options().template(template)), browser());
    let page = browser.open(server.site.0, "/");
    page.is_ready();
    page.set("max_tokens", "12");
    page.send("Who is there?");
    page.has_answered(2);
    assert_eq!(page.last(".text"), "");
    let fold = format!("{LAST}.querySelector('.thought')");
    assert_eq!(
        page.eval(&format!("[{fold}.hidden, {fold}.open]")),
        json!([false, false])
    );
    assert!(
        page.text(&format!("{fold}.lastElementChild.textContent"))
            .len()
            > 5
    );
    page.act("repeat");
    page.until(&format!("{LAST}.querySelector('.verdict.same')"));

    page.answer_with(&events("Let me see.", "It is I."));
    page.send("And who else?");
    page.has_answered(4);
    assert_eq!(page.last(".text"), "It is I.");
    assert!(page.last(".thought summary").starts_with("Thought for "));
    assert_eq!(
        page.eval(&format!(
            "{LAST}.querySelector('.thought .prose').checkVisibility()"
        )),
        false
    );
    page.click("#thread > li:last-child summary");
    page.until(&format!(
        "{LAST}.querySelector('.thought .prose').checkVisibility()"
    ));
    page.complains_of_nothing();
}

fn a_key_is_asked_for_and_forgotten_with_the_tab() {
    let keys = || Keys::parse("sk-right\n").unwrap();
    let (server, browser) = (Running::start(options().keys(keys())), browser());
    let page = browser.open(server.site.0, "/");
    page.until("document.querySelector('#key-dialog').open");
    page.write("sk-wrong");
    page.press("Enter");
    page.until("document.querySelector('#key-why').textContent.includes('does not know')");
    page.until("document.querySelector('#key-dialog').open");
    page.write("sk-right");
    page.press("Enter");
    page.is_ready();
    page.set("max_tokens", "4");
    page.send("Who is there?");
    page.has_answered(2);
    let elsewhere = "[...Object.values({ ...localStorage }), document.cookie, location.href]";
    assert_eq!(
        page.eval(&format!("{elsewhere}.join().includes('sk-')")),
        false
    );
    page.reload();
    page.is_ready();
    // Another tab has it not, and can be used once it is given there, too.
    let other = browser.open(server.site.0, "/");
    other.until("document.querySelector('#key-dialog').open");
    other.press("Escape");
    other.until("document.querySelector('#state').textContent.includes('a key is needed')");
    other.send("Who is there?");
    other.until("document.querySelector('#key-dialog').open");
    other.write("sk-right");
    other.press("Enter");
    other.has_answered(2);
    other.is_ready();
    other.complains_of_nothing();
}

fn what_goes_wrong_is_said_in_plain_words() {
    let browser = browser();
    let failed = format!("!{LAST}.querySelector('.failure').hidden");
    let options = || options().parallel(1).queue(1).drain(Duration::ZERO);
    let mut server = Running::start(options());
    let page = browser.open(server.site.0, "/");
    page.is_ready();

    page.send(&"so ".repeat(400));
    page.until(&failed);
    let message = page.last(".failure");
    assert!(
        message.contains("maximum context length is 256 tokens"),
        "{message}"
    );
    page.click("#clear");
    page.click("#clear-dialog .main");

    // Two wait already.
    let long =
        json!({ "messages": [{ "role": "user", "content": "Who?" }], "n": 2, "stream": true });
    let reading = server.site.open("/v1/chat/completions", &long);
    page.send("Who is there?");
    page.until(&failed);
    let message = page.last(".failure");
    assert!(
        message.starts_with("The server is busy; try again in 1 s."),
        "{message}"
    );
    // Whoever leaves makes room, before long.
    drop(reading);
    let short = json!({ "messages": long["messages"], "max_tokens": 1 });
    while server.site.post("/v1/chat/completions", &short).status == 429 {
        std::thread::sleep(Duration::from_millis(20));
    }
    page.set("max_tokens", "8");
    page.act("regenerate");
    page.has_answered(2);

    // The server goes in the middle of an answer. What came of it stays, and it can come back.
    page.set("max_tokens", "");
    page.send("Speak.");
    page.until(&format!(
        "{LAST}.querySelector('.text').textContent.length > 10"
    ));
    server.end();
    page.until(&failed);
    let message = page.last(".failure");
    assert_eq!(
        message,
        "The connection was lost before the answer was complete."
    );
    assert!(page.last(".text").len() > 10);
    page.until("document.querySelector('#state').textContent === 'not reachable'");
    page.act("regenerate");
    page.until(&format!(
        "{failed} && {LAST}.querySelector('.text').textContent === ''"
    ));
    let message = page.last(".failure");
    assert_eq!(message, "The server cannot be reached. Does it still run?");
    page.complains_of_nothing();
}

fn all_of_it_can_be_reached_and_read_without_eyes_or_a_mouse() {
    let (server, browser) = (Running::start(options()), browser());
    let page = browser.open(server.site.0, "/");
    page.is_ready();
    assert_eq!(page.text("document.activeElement.id"), "message");
    page.set("max_tokens", "12");
    page.write("Who");
    page.press("Shift+Enter");
    page.write("is there?");
    page.press("Enter");
    page.has_answered(2);
    assert_eq!(
        page.text("document.querySelector('#thread .text').textContent"),
        "Who\nis there?"
    );
    assert_eq!(page.text("document.activeElement.id"), "message");
    let said = page.text("document.querySelector('#spoken').textContent");
    assert_eq!(
        said,
        format!(
            "Answer: {}",
            page.text(&format!("{LAST}.querySelector('.text').innerText"))
        )
    );

    // From the head through the conversation to the message, in the order that is seen; the
    // focus is always seen.
    page.eval("document.querySelector('.skip').focus()");
    let mut order = Vec::new();
    for _ in 0..20 {
        order.push(
            page.text(
                "document.activeElement.ariaLabel ?? document.activeElement.textContent.trim()",
            ),
        );
        let outline = "document.activeElement.closest('#composer') ?? document.activeElement";
        let seen = page.text(&format!("getComputedStyle({outline}).outlineStyle"));
        assert_ne!(seen, "none", "{order:?}");
        if order.last().is_some_and(|name| name == "Message") {
            break;
        }
        page.press("Tab");
    }
    assert_eq!(
        order,
        [
            "To the message field",
            "Clear",
            "Colours: system",
            "Settings",
            "Copy",
            "Edit",
            "Copy",
            "Link",
            "Repeat",
            "Regenerate",
            "Edit",
            "Message",
        ]
    );

    // Every control has a name, every name that is referred to is there.
    page.click("#show-settings");
    let nameless = page.eval(
        "[...document.querySelectorAll('button, input, textarea, summary, a')]
            .filter(node => node.checkVisibility())
            .filter(node => !(node.ariaLabel || node.textContent.trim() || node.labels?.length))
            .map(node => node.outerHTML)",
    );
    assert_eq!(nameless, json!([]));
    let missing = page.eval(
        "['for', 'aria-labelledby', 'aria-describedby', 'aria-controls'].flatMap((name) =>
            [...document.querySelectorAll(`[${name}]`)]
                .map((node) => node.getAttribute(name))
                .filter((id) => !document.getElementById(id)))",
    );
    assert_eq!(missing, json!([]));
    page.press("Escape");
    assert_eq!(page.text("document.activeElement.id"), "show-settings");

    // The switch of colours goes around, and is kept.
    for theme in ["light", "dark"] {
        page.click("#theme");
        assert_eq!(page.text("document.documentElement.dataset.theme"), theme);
        assert_eq!(
            page.text("getComputedStyle(document.documentElement).colorScheme"),
            theme
        );
    }
    page.reload();
    page.is_ready();
    assert_eq!(page.text("document.documentElement.dataset.theme"), "dark");

    // On a phone, nothing is wider than it, and the settings cover all else.
    page.call(
        "Emulation.setDeviceMetricsOverride",
        json!({ "width": 360, "height": 640, "deviceScaleFactor": 2, "mobile": true }),
    );
    page.until("document.documentElement.scrollWidth <= 360");
    page.click("#show-settings");
    assert_eq!(
        page.eval("[document.querySelector('main').inert, settings.offsetWidth]"),
        json!([true, 360])
    );
    page.press("Escape");
    assert_eq!(page.eval("document.querySelector('main').inert"), false);
    page.complains_of_nothing();
}
