package closure

import (
	"slices"
	"strings"
	"testing"
	"time"
)

func TestCommands(t *testing.T) {
	got := Commands([]byte("#!/bin/sh\nset -e\nif test -d /data; then exec \"gosu\" app 'redis-server' \"$@\"; fi\n$CMD x | sort -u\n"))
	for _, want := range []string{"exec", "gosu", "redis-server", "set", "sort", "test"} {
		if !slices.Contains(got, want) {
			t.Errorf("%q: want %q among them", got, want)
		}
	}
	if slices.Contains(got, "-u") || slices.Contains(got, "$CMD") {
		t.Errorf("%q: an option or a variable is no command", got)
	}
}

// A text that nests for as long as it is ends neither the process nor the
// patience of who waits.
func TestCommandsHostile(t *testing.T) {
	for _, part := range []string{
		"(", "$(", "{ ", "if ", "\"$(", "`", "$((", "$((!", "$((-", "$((a?b:", "$((a=", "${a:-", "while ", "[[ ( ", "[[ ! ", "case a in a) ",
		"<<a ", "a&&", "{a,", "!(", "a() ", "function a ", "\x00", "\\\n", "'", "a\n",
	} {
		const size = 1 << 19
		start := time.Now()
		Commands([]byte(strings.Repeat(part, size/len(part))))
		if took := time.Since(start); took > time.Minute {
			t.Errorf("%q, repeated to %d bytes, took %s", part, size, took)
		}
	}
}
