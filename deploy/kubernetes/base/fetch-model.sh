# Brings the model from $MODEL_URL to the file named, unless it is there already. Nothing but what has the SHA-256
# $MODEL_SHA256 gets that name.
set -eu
file=$1
partial=$file.partial

is_whole() {
  [ -f "$1" ] && echo "$MODEL_SHA256  $1" | sha256sum -c >/dev/null 2>&1
}

if is_whole "$file"; then
  exit 0
fi
# One that was begun is gone on with; one that cannot be gone on with is begun anew.
if ! is_whole "$partial"; then
  curl --fail --silent --show-error --location --retry 5 --continue-at - --output "$partial" "$MODEL_URL" ||
    { rm -f "$partial"; exit 1; }
fi
if ! is_whole "$partial"; then
  rm -f "$partial"
  echo "what $MODEL_URL gives does not have the SHA-256 $MODEL_SHA256" >&2
  exit 1
fi
mv "$partial" "$file"
