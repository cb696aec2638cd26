#!/bin/sh
# The manual page, from what the program says of itself:
#
#   man.sh PROGRAM >textinv.1
set -eu
program=$1

# verbatim: what begins with a dot or an apostrophe would be a request, and a backslash an escape
verbatim() {
  printf '.PP\n.nf\n'
  sed -e 's/\\/\\e/g' -e "s/^[.']/\\\\\&&/" -e 's/-/\\-/g'
  printf '.fi\n'
}

version=$("$program" --version)
cat <<END
.TH TEXTINV 1 "" "$version" "User Commands"
.SH NAME
textinv \\- new words for a frozen text\\-to\\-image model
.SH SYNOPSIS
END
"$program" --help | sed -n 's/^  textinv/textinv/p' | verbatim
cat <<'END'
.SH DESCRIPTION
From three to five pictures of a thing \fBtextinv invert\fR learns a word for it, a file of a few kilobytes, and
\fBtextinv generate\fR draws prompts in which the word stands like any other. The model is never changed; without
\fB\-\-model\fR it is the small one that comes with the library. Data go to standard output, messages to standard error.
END
for command in $("$program" --help | sed -n 's/^  textinv \([a-z]*\).*/\1/p'); do
  printf '.SH TEXTINV %s\n' "$(echo "$command" | tr a-z A-Z)"
  "$program" "$command" --help-all | sed 1d | verbatim
done
cat <<'END'
.SH EXIT STATUS
0 done, 1 failed, 2 wrong usage, 130 interrupted: once with the work saved, twice without.
.SH ENVIRONMENT
.TP
.B TEXTINV_CPU
\fBavx512\fR, \fBavx2\fR or \fBreference\fR keeps from instructions beyond that; \fBbf16\fR takes those of bf16 where they are not
the faster ones. On 64-bit ARM: \fBneon\fR or \fBreference\fR.
.TP
.B TEXTINV_CUDA
\fBcudnn\fR leaves convolutions to cuDNN.
.TP
.B TMPDIR
where a result goes that cannot be written under its name.
.SH EXAMPLES
.nf
textinv invert \-\-images photos \-\-placeholder '<toy>' \-\-initializer toy \-\-out toy.safetensors
textinv generate \-\-embedding toy.safetensors \-\-prompt 'a photo of <toy> in the snow' \-\-out snow.png
.fi
END
