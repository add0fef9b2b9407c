package transfer

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/transfer"
	"github.com/temper-images/temper/integration/fault"
	"github.com/temper-images/temper/integration/registries"
)

// An image that cosign signed goes from Debian's registry to one with the referrers
// API and back, and through a file, and both versions verify it everywhere.
func TestThereAndBack(t *testing.T) {
	for who, least := range map[string]int{"cosign": 7, "cosign3": 7} {
		t.Run(who, func(t *testing.T) {
			old := distribution(t)
			s := pushSigned(t, old, 1000, who)
			s.requireVerified(t, s.ref)
			before := closure(t, s.ref, s.dgst)
			require.GreaterOrEqual(t, len(before.Manifests), least, "an index, two images, a signature of each, and an attestation")

			api := registries.Plain(t, registries.Config{}).Host
			from := s.ref
			for _, to := range []string{api + "/mirror/app:1.2", old + "/back/app:1.2"} {
				require.Equal(t, to+"@"+s.dgst.String()+"\n", must(t, s.dir, "temper", "copy", "-q", "--key", "release.pub", from, to))
				s.requireVerified(t, to)
				requireSame(t, before, closure(t, to, s.dgst))
				from = to
			}
			must(t, s.dir, "temper", "save", "-q", "--key", "release.pub", "-o", "app.oci.tar", from)
			for _, to := range []string{api + "/loaded/app:1.2", old + "/loaded/app:1.2"} {
				require.Equal(t, to+"@"+s.dgst.String()+"\n", must(t, s.dir, "temper", "load", "-q", "--key", "release.pub", "app.oci.tar", to))
				s.requireVerified(t, to)
				requireSame(t, before, closure(t, to, s.dgst))
			}
			// What that is worth shows where it is left behind.
			must(t, s.dir, "crane", "copy", "--insecure", s.ref, api+"/crane/app:1.2")
			require.Len(t, closure(t, api+"/crane/app:1.2", s.dgst).Manifests, 3)
			require.Equal(t, 6, run(t, s.dir, "temper", "copy", "--key", "release.pub", api+"/crane/app:1.2", old+"/none:1").code)
		})
	}
}

// What is not signed as demanded is not copied, saved or loaded, and the exit code
// says why not.
func TestExitCodes(t *testing.T) {
	old, api := distribution(t), registries.Plain(t, registries.Config{}).Host
	s := pushSigned(t, old, 1000, "cosign", "cosign3")
	must(t, s.dir, "temper", "save", "-q", s.ref, "-o", "app.oci.tar")
	unsigned := old + "/team/unsigned:1.0"
	pushIndex(t, unsigned, 1000)
	must(t, s.dir, "temper", "save", "-q", unsigned, "-o", "unsigned.oci.tar")
	other := api + "/team/other:1.0"
	pushIndex(t, other, 1000)
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{7, "signed by", []string{"copy", "--key", "stranger.pub", s.ref, api + "/a:1.0"}},
		{7, "signed by", []string{"save", "--key", "stranger.pub", s.ref, "-o", "none.tar"}},
		{7, "signed by", []string{"load", "--key", "stranger.pub", "app.oci.tar", api + "/a:1.0"}},
		{6, "not signed", []string{"copy", "--key", "release.pub", unsigned, api + "/a:1.0"}},
		{6, "not signed", []string{"load", "--key", "release.pub", "unsigned.oci.tar", api + "/a:1.0"}},
		{1, "--move-tag", []string{"copy", s.ref, other}},
		{2, "there is no such image", []string{"copy", old + "/team/none:1.0", api + "/a:1.0"}},
		{2, "there is no image for linux/s390x", []string{"copy", "--platform", "linux/s390x", s.ref, api + "/a:1.0"}},
		{2, "no such file", []string{"load", "none.tar", api + "/a:1.0"}},
		{2, "has the digest of what is copied", []string{"copy", s.ref, api + "/a@" + s.dgst.String()}},
		{2, "-o FILE", []string{"save", s.ref}},
		{2, "temper load", []string{"copy", "app.oci.tar", api + "/a:1.0"}},
		{9, "cannot be reached", []string{"copy", s.ref, "127.0.0.1:1/a:1.0"}},
	} {
		o := run(t, s.dir, "temper", append(c.args, "--progress", "plain")...)
		require.Equal(t, c.code, o.code, "%v: %s", c.args, o.stderr)
		require.Contains(t, o.stderr, c.says)
		require.NoFileExists(t, s.dir+"/none.tar")
	}
	require.Equal(t, "", strings.TrimSpace(run(t, s.dir, "crane", "ls", "--insecure", api+"/a").stdout))
}

// Registries with the oddities of the common ones get all of it, and one whose tags
// do not move says so.
func TestEachRegistry(t *testing.T) {
	old := distribution(t)
	s := pushSigned(t, old, 1000, "cosign", "cosign3")
	before := closure(t, s.ref, s.dgst)
	img := transfer.Image{Source: open(t, old, "team/app", nil), Top: before.Top}
	for kind, start := range registries.All() {
		t.Run(kind, func(t *testing.T) {
			// Tokens expire in the middle, but not within the requests of one moment.
			r := start(t, registries.Config{TokenUses: 40})
			dst := open(t, r.Host, "team/mirror/app", r)
			result, err := transfer.Copy(t.Context(), img, dst, "1.0", transfer.Options{})
			require.NoError(t, err)
			require.Equal(t, kind == "gitlab", result.FellBack)
			got, err := transfer.Collect(t.Context(), dst, before.Top, "")
			require.NoError(t, err)
			requireSame(t, before, got)
			again, err := transfer.Copy(t.Context(), img, dst, "1.0", transfer.Options{})
			require.NoError(t, err)
			require.Zero(t, again.Pushed)
		})
	}
}

// Connections that are cut, answers that get lost and servers that fail do not keep
// a copy from arriving whole.
func TestFaults(t *testing.T) {
	old := distribution(t)
	s := pushSigned(t, old, 300_000, "cosign", "cosign3")
	before := closure(t, s.ref, s.dgst)
	for what, f := range map[string]fault.Fault{
		"cut answers":   fault.CutAnswer,
		"lost answers":  fault.LoseAnswer,
		"hung up":       fault.HangUp(1000),
		"server errors": fault.Reply(http.StatusBadGateway, nil, ""),
		"throttled":     fault.Reply(http.StatusTooManyRequests, http.Header{"Retry-After": {"0"}}, ""),
	} {
		t.Run(what, func(t *testing.T) {
			source, err := fault.Start(old, "")
			require.NoError(t, err)
			defer source.Close()
			destination, err := fault.Start(distribution(t), "")
			require.NoError(t, err)
			defer destination.Close()
			var n atomic.Int32
			// Every seventh request, so that none fails as often as it is tried.
			choose := func(*http.Request) fault.Fault {
				if n.Add(1)%7 == 0 {
					return f
				}
				return nil
			}
			source.Set(choose)
			destination.Set(choose)
			to := destination.Addr + "/mirror/app:1.0"
			must(t, s.dir, "temper", "copy", "-q", "--key", "release.pub", strings.Replace(s.ref, old, source.Addr, 1), to)
			require.Greater(t, n.Load(), int32(20))
			source.Set(nil)
			destination.Set(nil)
			requireSame(t, before, closure(t, to, s.dgst))
			s.requireVerified(t, to)
		})
	}
}
