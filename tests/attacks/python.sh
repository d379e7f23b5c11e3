# shellcheck shell=bash disable=SC2154
# The Python of the attacks, made once in $work. Sourced by `run` and `fuzz`, which set $here and $work.

if ! python3 -c 'import ensurepip' 2>/dev/null; then
  echo "skipped: python3 with venv is not installed"
  echo "0 passed, 0 failed"
  exit 0
fi

retry() {
  local attempt
  for attempt in 1 2 3; do
    "$@" && return 0
    echo "attempt $attempt of 3 failed: $*" >&2
    sleep $((attempt * 3))
  done
  return 1
}

if ! cmp -s "$here/requirements.txt" "$work/python/installed.txt"; then
  rm -rf "$work/python"
  python3 -m venv "$work/python"
  retry "$work/python/bin/python" -m pip install --quiet --disable-pip-version-check -r "$here/requirements.txt"
  cp "$here/requirements.txt" "$work/python/installed.txt"
fi
