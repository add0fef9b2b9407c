package licence_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/inspect/licence"
)

func TestJudge(t *testing.T) {
	for _, c := range []struct {
		name        string
		allow, deny string
		want        licence.Verdict
	}{
		{"MIT", "", "", licence.Fine},
		{"whatever the author felt like", "", "", licence.Fine},
		{"AGPL-3.0-only", "", "AGPL-3.0-only", licence.Denied},
		{"agpl-3.0-only", "", "AGPL-*", licence.Denied},
		{"AGPL-3.0-or-later", "", "AGPL-*", licence.Denied},
		{"MIT OR AGPL-3.0-only", "", "AGPL-*", licence.Fine},
		{"MIT AND AGPL-3.0-only", "", "AGPL-*", licence.Denied},
		{"(MIT OR AGPL-3.0-only) AND (Apache-2.0 OR AGPL-3.0-or-later)", "", "AGPL-*", licence.Fine},
		{"GPL-2.0-or-later", "", "GPL-3.0-only", licence.Fine},
		{"GPL-2.0-or-later", "", "GPL-2.0-or-later", licence.Denied},
		{"GPL-2.0-only WITH Classpath-exception-2.0", "", "GPL-2.0-only", licence.Fine},
		{"GPL-2.0-only WITH Classpath-exception-2.0", "", "GPL-2.0-only*", licence.Denied},
		{"LicenseRef-acme", "", "LicenseRef-*", licence.Denied},
		{"proprietary", "", "proprie*", licence.Denied},

		{"MIT", "MIT Apache-2.0", "", licence.Fine},
		{"mit", "MIT", "", licence.Fine},
		{"ISC", "MIT Apache-2.0", "", licence.NotAllowed},
		{"ISC OR MIT", "MIT Apache-2.0", "", licence.Fine},
		{"ISC AND MIT", "MIT Apache-2.0", "", licence.NotAllowed},
		{"GPL-2.0-or-later", "GPL-3.0-only", "", licence.Fine},
		{"BSD-3-Clause", "BSD-*", "", licence.Fine},
		{"public-domain", "MIT", "", licence.NotAllowed},
		{"public-domain", "MIT public-*", "", licence.Fine},
		{"MIT", "*", "MIT", licence.Denied},
		{"MIT OR ISC", "*", "MIT", licence.Fine},
		{"MIT OR ISC", "MIT", "MIT", licence.NotAllowed},

		{strings.Repeat("(MIT OR ISC) AND ", 40) + "MIT", "MIT", "", licence.NotAllowed},
		{strings.Repeat("(", 1<<20), "", "", licence.Fine},
	} {
		got := licence.Lists{Allow: strings.Fields(c.allow), Deny: strings.Fields(c.deny)}.Judge(c.name)
		require.Equal(t, c.want, got, "%.60s allow %s deny %s", c.name, c.allow, c.deny)
	}
}

func TestKnown(t *testing.T) {
	require.True(t, licence.Known("MIT AND (ISC OR Apache-2.0)"))
	require.True(t, licence.Known("LicenseRef-x"))
	require.False(t, licence.Known(""))
	require.False(t, licence.Known("MIT AND"))
	require.False(t, licence.Known("public-domain"))
}

func TestCheckNamesTheEntry(t *testing.T) {
	require.NoError(t, licence.Lists{Allow: []string{"MIT", "BSD-*", "GPL-2.0-only WITH Classpath-exception-2.0"}, Deny: []string{"LicenseRef-x"}}.Check())
	require.ErrorContains(t, licence.Lists{Deny: []string{"GPLv3"}}.Check(), `licence "GPLv3": it is no SPDX licence identifier`)
	require.ErrorContains(t, licence.Lists{Allow: []string{"MIT OR ISC"}}.Check(), `licence "MIT OR ISC"`)
	require.ErrorContains(t, licence.Lists{Deny: []string{"GPL[-*"}}.Check(), `licence "GPL[-*": syntax error in pattern`)
}

func FuzzJudge(f *testing.F) {
	for _, s := range []string{"", "MIT", "MIT OR (ISC AND Apache-2.0)", "GPL-2.0+ WITH Classpath-exception-2.0", "((", "DocumentRef-x:LicenseRef-y"} {
		f.Add(s, "MIT")
	}
	f.Fuzz(func(t *testing.T, name, entry string) {
		open := licence.Lists{}
		require.Equal(t, licence.Fine, open.Judge(name))
		closed := licence.Lists{Allow: []string{entry}, Deny: []string{entry}}
		if closed.Check() == nil && !strings.ContainsAny(entry, "*?[") {
			require.NotEqual(t, licence.Fine, closed.Judge(entry))
		}
		closed.Judge(name)
	})
}
