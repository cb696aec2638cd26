#!/bin/sh
# Runs test programs (cmocka) and scripts (lines "ok - ..." and "FAIL - ..."), one line each, and closes
# with "N passed, N failed", after what was skipped. Output goes to $BUILD/tests/log/NAME; that of a failed one is shown.
# $EMULATOR, where it is set, runs the programs, but not the scripts.
set -u
log=${BUILD:-build/cc}/tests/log
mkdir -p "$log"
passed=0 failed=0 skipped=0
export UBSAN_OPTIONS="${UBSAN_OPTIONS:-print_stacktrace=1}"

# number before "test(s)" in the lines of cmocka that hold $1
count() {
  sed -n "s/^\[  *$1 *\] \([0-9][0-9]*\) test(s).*/\1/p" "$out" | awk '{ n += $1 } END { print n + 0 }'
}

# what the program skipped, a line each; cmocka names a test when it meets it and at the end
skips() {
  case $1 in
  *.sh) sed -n 's/^skipped - //p' "$out" ;;
  *) sed -n '/^\[ *SKIPPED *\] [0-9]* test(s)/d; s/^\[ *SKIPPED *\] //p' "$out" | sort -u ;;
  esac
}

for program; do
  name=$(echo "${program%.sh}" | sed 's|.*tests/||; s|_test$||')
  out=$log/$(echo "$name" | tr / -)
  case $program in
  *.sh) emulator= ;;
  *) emulator=${EMULATOR-} ;;
  esac
  start=$(date +%s)
  timeout -k 10 "${TEST_TIMEOUT:-900}" $emulator "$program" >"$out" 2>&1 </dev/null
  status=$?
  seconds=$(($(date +%s) - start))
  case $program in
  *.sh)
    p=$(grep -c '^ok - ' "$out") f=$(grep -c '^FAIL - ' "$out")
    ;;
  *)
    p=$(count PASSED) f=$(count FAILED)
    ;;
  esac
  s=$(skips "$program" | wc -l)
  # a crash, a time-out or a test that counted nothing is a failure, too
  if [ $f = 0 ] && { [ $status != 0 ] || [ $((p + s)) = 0 ]; }; then
    f=1
  fi
  passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
  if [ $f = 0 ]; then
    printf 'ok    %-28s %3d tests, %d s%s\n' "$name" "$p" "$seconds" "$([ $s = 0 ] || echo ", $s skipped")"
  else
    printf 'FAIL  %-28s %3d of %d tests, %d s, exit %d; %s:\n' "$name" $f $((p + f)) "$seconds" $status "$out"
    grep -v '^\[ *\(RUN\|OK\) *\]' "$out" | tail -n 40 | sed 's/^/      /'
  fi
  skips "$program" | sed 's/^/      skipped: /'
done
[ $skipped = 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ $failed = 0 ]
