#!/bin/sh
# What the tests of a build with --coverage have reached: percent of the lines and branches of each
# file of src/ and kernels/cpu/ and of each folder, and BUILD/report/index.html with every line.
set -eu
build=$1
table=$build/report/files.csv

mkdir -p "$build/report"
# counts of kernels may be below 0, see the Makefile
gcovr --filter src/ --filter kernels/cpu/ --exclude-unreachable-branches --gcov-ignore-parse-errors \
  --html-details "$build/report/index.html" --csv "$table" "$build" 2>"$build/report/log"
awk -F, '
  function row(name, lines, reached, branches, taken) {
    printf "%-38s %6d %6.1f%% %8d %6.1f%%\n", name, lines, 100 * reached / (lines ? lines : 1), branches,
      100 * taken / (branches ? branches : 1)
  }
  BEGIN { printf "%-38s %6s %7s %8s %7s\n", "", "lines", "", "branches", "" }
  NR > 1 {
    folder = $1
    sub("/[^/]*$", "", folder)
    if (NR == 2 || folder != last)
      folders[++n] = folder
    last = folder
    lines[folder] += $2; reached[folder] += $3; branches[folder] += $5; taken[folder] += $6
    row($1, $2, $3, $5, $6)
  }
  END {
    for (i = 1; i <= n; i++)
      row(folders[i] "/", lines[folders[i]], reached[folders[i]], branches[folders[i]], taken[folders[i]])
  }' "$table"
echo "lines and branches that no test reached: $build/report/index.html"
