# shellcheck shell=bash
# Makes the checkout's virtual environment and names what the machine lacks; sourced by the other scripts, never run alone.
#
#   PYTHON              the interpreter to build it with (default: the first of python3, python3.13, 3.12, 3.11 that is >= 3.11)
#   SWARMHARNESS_VENV   where it lies (default: .venv in the checkout)

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${SWARMHARNESS_VENV:-$root/.venv}
stamp=$venv/swarmharness-installed # written last: "<fingerprint> <extras>"
begun=$venv/swarmharness-begun     # written first, so that only an environment of our own is ever cleared
log=$venv/swarmharness-install.log

say() { printf '%s\n' "$*" >&2; }

die() {
    say "error: $1"
    shift
    for line in "$@"; do say "  $line"; done
    exit 2
}

refuse_windows() {
    case $(uname -s) in
        MINGW* | MSYS* | CYGWIN* | Windows*)
            die "Windows is not supported." "Run this inside WSL 2: https://learn.microsoft.com/windows/wsl/install"
            ;;
        Darwin) say "note: macOS is untested; Linux is what the tests run on." ;;
    esac
}

# Print the first interpreter that runs and is new enough (version managers leave shims that do not run).
find_python() {
    local candidate candidates=(python3 python3.13 python3.12 python3.11)
    if [[ -n ${PYTHON:-} ]]; then candidates=("$PYTHON"); fi
    for candidate in "${candidates[@]}"; do
        if [[ $("$candidate" -c 'import sys; print(sys.version_info >= (3, 11))' 2>/dev/null) == True ]]; then
            command -v "$candidate"
            return
        fi
    done
    return 1
}

# Print the command that installs the named needs (python venv compiler headers gmp git) with this machine's package manager.
install_command() {
    local version=$1 manager need packages=()
    shift
    for manager in apt-get dnf zypper pacman brew none; do
        if command -v "$manager" >/dev/null; then break; fi
    done
    for need in "$@"; do
        case $manager:$need in
            apt-get:python) packages+=("python$version" "python$version-venv" "python$version-dev") ;;
            apt-get:venv) packages+=("python$version-venv") ;;
            apt-get:compiler) packages+=(build-essential) ;;
            apt-get:headers) packages+=("python$version-dev") ;;
            apt-get:gmp) packages+=(libgmp-dev) ;;
            dnf:python) packages+=("python$version" "python$version-devel") ;;
            dnf:headers) packages+=("python$version-devel") ;;
            dnf:gmp | zypper:gmp) packages+=(gmp-devel) ;;
            zypper:python) packages+=(python313 python313-devel) ;;
            zypper:headers) packages+=("python${version/./}-devel") ;;
            brew:compiler) packages+=(gcc) ;;
            pacman:python | pacman:venv | pacman:headers) packages+=(python) ;;
            brew:python | brew:venv | brew:headers) packages+=(python@3.13) ;;
            dnf:venv | zypper:venv) packages+=("python${version}") ;;
            *:compiler) packages+=(gcc) ;;
            *) packages+=("$need") ;; # git and gmp are called so everywhere else
        esac
    done
    local sudo=
    if [[ $(id -u) != 0 && $manager != brew ]]; then sudo="sudo "; fi
    case $manager in
        apt-get) say "  ${sudo}apt-get update && ${sudo}apt-get install -y ${packages[*]}" ;;
        dnf | zypper) say "  ${sudo}$manager install -y ${packages[*]}" ;;
        pacman) say "  ${sudo}pacman -S --needed ${packages[*]}" ;;
        brew) say "  brew install ${packages[*]}" ;;
        none) say "  (no known package manager here: install them as your system does)" ;;
    esac
}

# Tell whether the compiler that Python's extensions are built with accepts a program that begins with the given lines.
compiles() {
    local python=$1 lines=$2 library=${3:-} work status=0
    work=$(mktemp -d)
    printf '%b\nint main(void) { return 0; }\n' "$lines" >"$work/probe.c"
    # shellcheck disable=SC2086 # CC, CFLAGS and LDFLAGS are lists of words by their convention
    ${CC:-$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("CC") or "cc")')} ${CFLAGS:-} \
        -I"$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')" \
        "$work/probe.c" -o "$work/probe" ${LDFLAGS:-} ${library:+"-l$library"} >/dev/null 2>&1 || status=1
    rm -rf "$work"
    return "$status"
}

# Name everything that is missing at once, with one command that installs it. fastecdsa, which py-libp2p pins, has no
# wheel: it is compiled against the headers of Python and of GMP.
check_machine() {
    local python=$1 version missing=() why=()
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    lacks() { missing+=("$1") && why+=("$2"); }
    if [[ $(uname -s) == Darwin ]] && command -v brew >/dev/null && brew --prefix gmp >/dev/null 2>&1; then
        # Homebrew's folder is not on the compiler's path
        export CFLAGS="-I$(brew --prefix gmp)/include ${CFLAGS:-}" LDFLAGS="-L$(brew --prefix gmp)/lib ${LDFLAGS:-}"
    fi
    if ! command -v git >/dev/null; then lacks git "git"; fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then lacks venv "Python's venv module"; fi
    if ! compiles "$python" ""; then
        lacks compiler "a C compiler"
        # Nothing compiles without one, so look for the headers themselves.
        if [[ ! -e $("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h ]]; then
            lacks headers "the headers of Python $version (Python.h)"
        fi
        if ! compgen -G "/usr/include/gmp.h" >/dev/null && ! compgen -G "/usr/include/*/gmp.h" >/dev/null &&
            [[ ! -e /usr/local/include/gmp.h ]]; then
            lacks gmp "the headers of GMP (gmp.h)"
        fi
    else
        if ! compiles "$python" "#include <Python.h>"; then lacks headers "the headers of Python $version (Python.h)"; fi
        if ! compiles "$python" "#include <gmp.h>" gmp; then lacks gmp "the headers of GMP (gmp.h)"; fi
    fi
    if ((${#missing[@]})); then
        say "error: this machine lacks:"
        for line in "${why[@]}"; do say "  - $line"; done
        say "Install with:"
        install_command "$version" "${missing[@]}"
        exit 2
    fi
}

# What the environment was made from: it is stale when the project's metadata, its interpreter or its place changes.
fingerprint() {
    "$venv/bin/python" - "$root" <<'PYTHON' 2>/dev/null
import hashlib, pathlib, sys
project = pathlib.Path(sys.argv[1], "pyproject.toml").read_bytes()
print(hashlib.sha256(project + f"\0{sys.version}\0{sys.argv[1]}\0{sys.prefix}".encode()).hexdigest())
PYTHON
}

# Tell whether the environment already holds the extras asked for (models, or models,dev which contains it).
fresh() {
    local extras=$1 made_of= holds=
    if [[ ! -e $stamp ]]; then return 1; fi
    read -r made_of holds <"$stamp"
    if [[ $made_of != "$(fingerprint)" ]]; then return 1; fi
    if [[ -n ${PYTHON:-} && $("$PYTHON" -V 2>&1) != "$("$venv/bin/python" -V)" ]]; then return 1; fi
    [[ $holds == "$extras" || $holds == "$extras",* ]]
}

# Install `.[extras]` in the environment, unless a finished installation of the same is there.
prepare_environment() {
    local extras=$1 python held=
    refuse_windows
    if fresh "$extras"; then return; fi
    # What an older installation holds beyond this stays: otherwise scripts/demo and scripts/test would take turns.
    if [[ -e $stamp ]]; then read -r _ held <"$stamp"; fi
    if [[ $held == "$extras",* ]]; then extras=$held; fi
    if ! python=$(find_python); then
        if [[ -n ${PYTHON:-} ]]; then die "PYTHON=$PYTHON does not run, or is older than Python 3.11."; fi
        say "error: this machine lacks Python 3.11 or later (or name one: PYTHON=/path/to/python3.12 $0)"
        say "Install with:"
        # An older python3 stays as it is: another one goes beside it.
        if command -v python3 >/dev/null; then install_command 3.11 python; else install_command 3 python; fi
        exit 2
    fi
    check_machine "$python"
    say "Installing SwarmHarness [$extras] with $("$python" -V) in $venv (a minute or two, once) ..."
    # An installation that was cut off, or another interpreter's, is made anew; one that only grows is kept.
    if [[ -e $begun && (! -e $stamp || $("$venv/bin/python" -V 2>&1) != "$("$python" -V 2>&1)") ]]; then
        rm -rf "$venv"
    fi
    mkdir -p "$venv"
    touch "$begun"
    rm -f "$stamp"
    # pip prints harmless warnings on many machines: all of its output goes to the log, shown when it fails.
    if ! {
        "$python" -m venv "$venv" &&
            "$venv/bin/python" -m pip install --disable-pip-version-check --editable "$root[$extras]"
    } >"$log" 2>&1 </dev/null; then
        grep -v '^WARNING' "$log" | tail -n 40 >&2
        die "the installation failed; the whole output is in $log"
    fi
    # libp2p depends on trio-typing, which installs a folder `trio-stubs`; type checkers then believe it instead of
    # trio's own, newer annotations.
    rm -rf "$("$venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/trio-stubs"
    printf '%s %s\n' "$(fingerprint)" "$extras" >"$stamp"
}

# Fetch the models of the named skills into the cache; those that are there already cost nothing.
pull_models() {
    local skill
    for skill in "$@"; do
        "$venv/bin/swarmharness" skills pull "$skill" >&2 ||
            die "the model of the skill $skill could not be fetched (is there a network?)" \
                "Try again with: $venv/bin/swarmharness skills pull $skill"
    done
}
