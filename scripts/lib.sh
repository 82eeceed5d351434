# Shell functions that scripts/test, scripts/demo and .ci/run share. Sourced by bash, from the repository's root.

say() { printf '%s\n' "$*"; }
heading() { printf '\n== %s (%d s)\n' "$*" "$SECONDS"; }

# Installs the Debian packages that are missing. Without root or sudo it prints the command and gives up.
install_packages() {
  local missing=()
  local package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0
  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      say "Packages are missing. As root run: apt-get install --no-install-recommends ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  say "installing: ${missing[*]}"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends --no-remove "${missing[@]}" >/dev/null 2>&1 && return 0
  "${as_root[@]}" apt-get update -qq &&
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends --no-remove "${missing[@]}" >/dev/null
}

# The same for tools without which a part is skipped.
install_optional() { install_packages "$@" || say "going on without: $*"; }

build_packages=(g++ meson ninja-build pkg-config ccache libcli11-dev)
test_packages=(catch2 netcat-openbsd)
optional_packages=(clang libclang-rt-14-dev cmake gnuplot-nox libpq-dev libhiredis-dev redis-server postgresql libglib2.0-dev
                   libuv1-dev libtomlplusplus-dev libsqlite3-dev libre2-dev libssl-dev libwslay-dev openssl valgrind wrk nghttp2-client slowhttptest
                   python3-aiohttp curl nginx-light nodejs node-ws python3-websockets)
# Debian 12 has two versions of Boost, of which one can be installed; HTTP needs the newer one's Beast.
boost_packages=(libboost1.81-dev libboost-context1.81-dev libboost-json1.81-dev)

# configure FOLDER [meson options]: makes or keeps a build folder. ccache is used by Meson where it is installed.
configure() {
  local folder=$1
  shift
  if [ -f "$folder/build.ninja" ]; then return 0; fi
  meson setup "$folder" "$@" >"$folder.log" 2>&1 || {
    cat "$folder.log"
    return 1
  }
  rm -f "$folder.log"
}

# build FOLDER [targets]: prints only what went wrong.
build() {
  local folder=$1
  shift
  local output
  output=$(ninja -C "$folder" "$@" 2>&1) || {
    printf '%s\n' "$output" | tail -n 60
    return 1
  }
}

# failures_of REPORT: the failed cases of a Catch2 XML report, each with the expressions that were false, or where the report breaks off.
failures_of() {
  python3 - "$1" <<'PY'
import html, re, sys
report = open(sys.argv[1], errors="replace").read()
def text(part): return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", part)).split())
for name, body in re.findall(r"<TestCase name=\"([^\"]*)\"(.*?)(?=<TestCase |\Z)", report, re.S):
    if "<OverallResult success=\"true\"" in body: continue
    print("  failed:", html.unescape(name))
    for line, what in re.findall(r"<Expression success=\"false\"[^>]*line=\"(\d+)\"[^>]*>(.*?)</Expression>", body, re.S):
        print(f"    line {line}: {text(what)}")
    for what in re.findall(r"<(?:Failure|Exception|FatalErrorCondition|Info)\b[^>]*>(.*?)</", body, re.S): print("   ", text(what))
    if "<OverallResult" not in body: print("    the report breaks off here:", text(body[-600:]))
PY
}

passed=0 failed=0 skipped=0

# suite NAME COMMAND...: runs one Catch2 program and counts its test cases from its own XML report.
suite() {
  local name=$1 report status=0
  shift
  report=$(mktemp)
  timeout -k 5 600 "$@" -r xml -o "$report" >"$report.out" 2>&1 || status=$?
  local counts
  counts=$(python3 - "$report" "$report.out" "$status" <<'PY'
import re, sys
report, output, status = open(sys.argv[1], errors="replace").read(), open(sys.argv[2], errors="replace").read(), int(sys.argv[3])
cases = re.findall(r"<TestCase name=\"([^\"]*)\".*?(?:<OverallResult success=\"(true|false)\"|\Z)", report, re.S)
skips = set(re.findall(r"^SKIP (.*?): ", output, re.M))
skips |= set(re.findall(r"^SKIP (.*?): ", report, re.M))
passed = sum(1 for _, good in cases if good == "true")
failed = sum(1 for _, good in cases if good != "true")
skipped = min(passed, len(skips))
if status != 0 and failed == 0: failed = 1
print(passed - skipped, failed, skipped)
PY
)
  local one_passed one_failed one_skipped
  read -r one_passed one_failed one_skipped <<<"$counts"
  passed=$((passed + one_passed)) failed=$((failed + one_failed)) skipped=$((skipped + one_skipped))
  grep -h '^SKIP ' "$report.out" "$report" 2>/dev/null | sort -u
  if [ "$one_failed" -ne 0 ] || [ $((one_passed + one_skipped)) -eq 0 ]; then
    [ "$one_failed" -eq 0 ] && failed=$((failed + 1))
    say "FAIL $name: $one_passed passed, $one_failed failed, exit status $status"
    failures_of "$report"
    tail -n 20 "$report.out"
  else
    say "ok   $name: $one_passed passed, $one_skipped skipped"
  fi
  rm -f "$report" "$report.out"
}

# layer_suite LAYER FOLDER [HOW]: the suite of a layer; the one that needs a package which is not there is skipped.
layer_suite() {
  local name=$1${3:+, $3}
  if [ "$1" = config ] && [ ! -x "$2/tests/test_config" ]; then
    skip "$name" "toml++ is not installed (libtomlplusplus-dev)"
  elif [ "$1" = http ] && [ ! -x "$2/tests/test_http" ]; then
    skip "$name" "Boost.Beast 1.81 or RE2 is not installed (libboost1.81-dev libre2-dev)"
  elif [ "$1" = tls ] && [ ! -x "$2/tests/test_tls" ]; then
    skip "$name" "OpenSSL 3 is not installed (libssl-dev)"
  elif [ "$1" = websocket ] && [ ! -x "$2/tests/test_websocket" ]; then
    skip "$name" "wslay is not installed, or what HTTP or TLS need (libwslay-dev libboost1.81-dev libre2-dev libssl-dev)"
  else
    suite "$name" "$2/tests/test_$1"
  fi
}
# built FOLDER LAYER...: those of the layers whose tests are there; layer_suite tells of the others.
built() {
  local folder=$1 layer
  shift
  for layer in "$@"; do if [ -x "$folder/tests/test_$layer" ] || [[ $layer != tls && $layer != http && $layer != websocket ]]; then echo "$layer"; fi; done
}

# check NAME COMMAND...: one case that is a command's exit status; its output is shown where it fails.
check() {
  local name=$1 output
  shift
  if output=$("$@" 2>&1); then
    passed=$((passed + 1))
    say "ok   $name"
    printf '%s\n' "$output" | grep '^SKIP ' && skipped=$((skipped + 1))
  else
    failed=$((failed + 1))
    say "FAIL $name"
    printf '%s\n' "$output" | tail -n 40
  fi
  return 0
}

skip() {
  skipped=$((skipped + 1))
  say "SKIP $1: $2"
}

# What does not use all processors by itself can run beside others: its calls are queued, and run by run_queue.
queued=()
# queue FUNCTION WORDS...: a call of suite, layer_suite, check, skip or heading.
queue() { queued+=("$(printf '%q ' "$@")"); }

# run_queue: makes the queued calls, as many at a time as there are processors, each in a shell of its own with the environment of now. What they
# say is printed in the order in which they were queued, and their cases are added to the totals.
run_queue() {
  local folder at_once next=0 i
  folder=$(mktemp -d)
  at_once=$(nproc)
  # Prints those at the front that have ended.
  print_ended() {
    local one_passed one_failed one_skipped
    while [ -e "$folder/$next.counts" ]; do
      cat "$folder/$next"
      read -r one_passed one_failed one_skipped <"$folder/$next.counts"
      passed=$((passed + one_passed)) failed=$((failed + one_failed)) skipped=$((skipped + one_skipped))
      next=$((next + 1))
    done
  }
  for i in "${!queued[@]}"; do
    while [ "$(jobs -rp | wc -l)" -ge "$at_once" ]; do
      wait -n
      print_ended
    done
    (
      passed=0 failed=0 skipped=0
      eval "${queued[i]}"
      echo "$passed $failed $skipped" >"$folder/$i.new"
      mv "$folder/$i.new" "$folder/$i.counts"
    ) >"$folder/$i" 2>&1 &
  done
  wait
  print_ended
  while [ "$next" -lt ${#queued[@]} ]; do
    failed=$((failed + 1))
    say "FAIL without a result: ${queued[next]}"
    cat "$folder/$next"
    next=$((next + 1))
    print_ended
  done
  queued=()
  rm -rf "$folder"
}

# The last line of a run: the totals, alone. The exit status says whether all is well.
totals() {
  printf '\n%d passed, %d failed, %d skipped\n' "$passed" "$failed" "$skipped"
  [ "$failed" -eq 0 ]
}
