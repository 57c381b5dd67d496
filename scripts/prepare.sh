#!/bin/sh
# Find a Python that Antiphon runs on, and have it prepare what a target of the Makefile needs: prepare.sh GOAL
# The first of these that works: $PYTHON, if it is set, and no other; what .venv was made with; python3; by name.
cd "$(dirname "$0")/.." || exit 1

fits() {
    "$1" -c 'import sys; sys.exit(not sys.version_info >= (3, 11))' >/dev/null 2>&1
}

told() {
    version=$("$1" -c 'import sys; print("Python %d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || version="missing"
    printf '%s is %s' "$1" "$version"
}

if [ -n "$PYTHON" ]; then
    set -- "$1" "$PYTHON"
else
    set -- "$1" .venv/bin/python python3 python3.13 python3.12 python3.11
fi
goal=$1
shift
for python in "$@"; do
    if fits "$python"; then
        exec "$python" scripts/prepare.py "$goal"
    fi
done

cat >&2 <<EOF
antiphon: Python 3.11, 3.12 or 3.13 is needed, and $(told "${PYTHON:-python3}").
Install one:
  Debian, Ubuntu   apt-get install python3 python3-venv   (where that is older: python3.12 of a newer release)
  Fedora           dnf install python3
  macOS            brew install python@3.13
or name one that is here:  make PYTHON=/path/to/python3.12 ${GOAL:-serve}
EOF
exit 1
