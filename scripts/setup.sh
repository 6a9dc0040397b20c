#!/bin/sh
# Make .venv and install a lock into it: scripts/setup.sh requirements.txt
#
# Safe to interrupt and to run again: the stamp (the lock's hash) is written last, and a second call that finds it
# returns at once. PYTHON=/path/to/python3.12 chooses the interpreter of a new .venv.
set -eu

LOCK=${1:?the lock file to install}
VENV=.venv
NEED_GB=5

say() { printf '%s\n' "$*"; }
die() {
    printf '\nsetup stopped: %s\n' "$1" >&2
    shift
    for line in "$@"; do printf '  %s\n' "$line" >&2; done
    exit 1
}

hash_of() {
    if command -v sha256sum >/dev/null 2>&1; then sha256sum "$1" | cut -d' ' -f1; else shasum -a 256 "$1" | cut -d' ' -f1; fi
}

stamp_of() { printf '%s/.lock-%s' "$VENV" "$(basename "$1" .txt)"; }

is_installed() { [ -x "$VENV/bin/python" ] && [ "$(cat "$(stamp_of "$1")" 2>/dev/null)" = "$(hash_of "$1")" ]; }

# 3.11 or newer, and able to make a virtual environment (Debian ships venv as a package of its own)
is_usable() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }
can_venv() { "$1" -c 'import ensurepip, venv' >/dev/null 2>&1; }

find_python() {
    seen=""
    for name in ${PYTHON:-python3.11 python3.12 python3.13 python3}; do
        command -v "$name" >/dev/null 2>&1 || continue
        version=$("$name" -c 'import sys; print("%d.%d.%d" % sys.version_info[:3])' 2>/dev/null) || continue
        if ! is_usable "$name"; then
            seen="$seen $name is $version, too old;"
        elif ! can_venv "$name"; then
            seen="$seen $name ($version) has no venv module (Debian, Ubuntu: apt-get install python3-venv);"
        else
            say "$name"
            return 0
        fi
    done
    die "no usable Python." "Ratchet needs Python 3.11 or newer with its venv module." \
        "Found:${seen:- none of ${PYTHON:-python3.11 python3.12 python3.13 python3}.}" \
        "Install one, or name it: make setup PYTHON=/path/to/python3.11"
}

check_disk() {
    free_kb=$(df -Pk . | awk 'NR == 2 { print $4 }')
    if [ "$free_kb" -lt $((NEED_GB * 1024 * 1024)) ]; then
        die "the disk is too full." \
            "$(pwd) has $((free_kb / 1024)) MB free; the install and the data of the demo need $NEED_GB GB." \
            "Nothing was changed. Free some space and run the same command again."
    fi
}

make_venv() {
    if [ -x "$VENV/bin/python" ] && is_usable "$VENV/bin/python" && "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
        return 0
    fi
    python=$(find_python) || exit 1
    say "making $VENV with $python ($("$python" -c 'import sys; print(sys.version.split()[0])'))"
    "$python" -m venv --clear "$VENV" || die "$python could not make $VENV." "Its words are above."
}

install() {
    "$VENV/bin/python" -m uv --version >/dev/null 2>&1 || "$VENV/bin/python" -m pip install --quiet --disable-pip-version-check uv ||
        die "pip could not install uv." "Is the package index within reach? Run the same command again; what is there is kept."
    # the lock is complete: resolving again could only disagree with it
    # compiled once, here: else five processes compile the same modules at once at the first start (a minute)
    "$VENV/bin/python" -m uv pip install --compile-bytecode --python "$VENV/bin/python" --no-deps -r "$LOCK" ||
        die "the install of $LOCK failed." "The reason is above. Run the same command again: what was fetched is kept."
}

[ -f "$LOCK" ] || die "$LOCK is missing." "Run this from the repository's root."
is_installed "$LOCK" && exit 0
check_disk
make_venv
say "installing $LOCK (1.8 GB unpacked: minutes the first time, one from a warm cache)"
install
# requirements-dev.txt is locked together with requirements.txt and holds all of it
[ "$(basename "$LOCK")" = requirements-dev.txt ] && hash_of requirements.txt >"$(stamp_of requirements.txt)"
hash_of "$LOCK" >"$(stamp_of "$LOCK")"
say "installed $LOCK"
