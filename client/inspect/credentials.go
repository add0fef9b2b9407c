package inspect

import (
	"io"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/temper-images/temper/client/imagefs"
)

// maxCredentials is how much of a credentials file is read, in bytes.
const maxCredentials = 1 << 20

// saved is a file in which a program saves credentials.
type saved struct {
	// name is the end of the path, whole names only. The last one may be a glob.
	name string
	// kind names the credentials in findings.
	kind string
	// secret is what the file has when there is a secret in it; nil means that every
	// file has one.
	secret *regexp.Regexp
}

// value is the beginning of a literal value: no reference to a variable.
const value = `["']?[^\s"'$#{<]`

var savedFiles = []saved{
	{".netrc", "netrc", regexp.MustCompile(`\bpassword\s+` + value)},
	{"_netrc", "netrc", regexp.MustCompile(`\bpassword\s+` + value)},
	{".docker/config.json", "docker", regexp.MustCompile(`"(?:auth|identitytoken|registrytoken|password)"\s*:\s*"[^"]`)},
	{".dockercfg", "docker", regexp.MustCompile(`"auth"\s*:\s*"[^"]`)},
	{"containers/auth.json", "docker", regexp.MustCompile(`"auth"\s*:\s*"[^"]`)},
	{".aws/credentials", "aws", regexp.MustCompile(`(?i)aws_(?:secret_access_key|session_token)\s*=\s*` + value)},
	{".config/gcloud/application_default_credentials.json", "gcloud", nil},
	{".config/gcloud/credentials.db", "gcloud", nil},
	{".config/gcloud/access_tokens.db", "gcloud", nil},
	{".azure/msal_token_cache.*", "azure", nil},
	{".azure/accessTokens.json", "azure", nil},
	{".azure/service_principal_entries.*", "azure", nil},
	{".kube/config", "kubernetes", regexp.MustCompile(`(?m)^\s*(?:- )?(?:token|password|client-key-data):\s*` + value)},
	{".npmrc", "npm", regexp.MustCompile(`(?m)_(?:authToken|auth|password)\s*=\s*` + value)},
	{".yarnrc.yml", "yarn", regexp.MustCompile(`(?m)^\s*npmAuth(?:Token|Ident):\s*` + value)},
	{".pypirc", "pypi", regexp.MustCompile(`(?m)^\s*password\s*[=:]\s*` + value)},
	{"pip.conf", "pip", regexp.MustCompile(`://[^/\s:@]+:[^/\s@$]+@`)},
	{".cargo/credentials", "cargo", regexp.MustCompile(`(?m)^\s*token\s*=\s*` + value)},
	{".cargo/credentials.toml", "cargo", regexp.MustCompile(`(?m)^\s*token\s*=\s*` + value)},
	{".gem/credentials", "rubygems", regexp.MustCompile(`(?m)^\s*:?\w+:\s*` + value)},
	{".composer/auth.json", "composer", regexp.MustCompile(`:\s*"[^"]{8}`)},
	{"composer/auth.json", "composer", regexp.MustCompile(`:\s*"[^"]{8}`)},
	{".m2/settings.xml", "maven", regexp.MustCompile(`<(?:password|passphrase)>\s*[^\s<$]`)},
	{".gradle/gradle.properties", "gradle", regexp.MustCompile(`(?im)^\s*[\w.]*(?:password|token|secret)\s*=\s*` + value)},
	{".nuget/NuGet/NuGet.Config", "nuget", regexp.MustCompile(`(?i)key="(?:ClearText)?Password"\s+value="[^"%]`)},
	{".git-credentials", "git", regexp.MustCompile(`://[^/\s:@]+:[^/\s@]+@`)},
	{".config/git/credentials", "git", regexp.MustCompile(`://[^/\s:@]+:[^/\s@]+@`)},
	{".git/config", "git", regexp.MustCompile(`(?i)://[^/\s:@]*:[^/\s@]+@|extraheader\s*=\s*.*authorization:`)},
	{".config/gh/hosts.yml", "github", regexp.MustCompile(`oauth_token:\s*` + value)},
	{".config/glab-cli/config.yml", "gitlab", regexp.MustCompile(`(?m)^\s*token:\s*` + value)},
	{".terraform.d/credentials.tfrc.json", "terraform", nil},
	{".vault-token", "vault", nil},
	{".pgpass", "postgresql", regexp.MustCompile(`(?m)^[^#\n]*(?:[^:\n]*:){4}[^\s:]`)},
	{".my.cnf", "mysql", regexp.MustCompile(`(?m)^\s*password\s*=\s*` + value)},
	{".mylogin.cnf", "mysql", nil},
	{".s3cfg", "s3", regexp.MustCompile(`(?m)^\s*secret_key\s*=\s*` + value)},
	{".boto", "boto", regexp.MustCompile(`(?im)^\s*\w*secret\w*\s*=\s*` + value)},
	{".config/rclone/rclone.conf", "rclone", regexp.MustCompile(`(?m)^\s*(?:pass|password|token|secret_access_key|key)\s*=\s*` + value)},
	{"apt/auth.conf", "apt", regexp.MustCompile(`\bpassword\s+` + value)},
	{"apt/auth.conf.d/*", "apt", regexp.MustCompile(`\bpassword\s+` + value)},
	{"apt/sources.list", "apt", regexp.MustCompile(`://[^/\s:@]+:[^/\s@]+@`)},
	{"apt/sources.list.d/*", "apt", regexp.MustCompile(`://[^/\s:@]+:[^/\s@]+@`)},
}

// savedByBase finds the entries of savedFiles by their last name; globs are below
// the empty name.
var savedByBase = func() map[string][]saved {
	out := map[string][]saved{}
	for _, s := range savedFiles {
		base := path.Base(s.name)
		if strings.Contains(base, "*") {
			base = ""
		}
		out[base] = append(out[base], s)
	}
	return out
}()

// credentials says what kind of saved credentials a file is, or nothing.
func credentials(name string, f *imagefs.File) (string, error) {
	for _, s := range slices.Concat(savedByBase[path.Base(name)], savedByBase[""]) {
		if !s.is(name) {
			continue
		}
		if s.secret == nil {
			return s.kind, nil
		}
		dt := make([]byte, min(f.Size(), maxCredentials))
		if _, err := f.ReadAt(dt, 0); err != nil && err != io.EOF { //nolint:errorlint // io.ReaderAt returns it bare
			return "", err
		}
		if s.secret.Match(dt) {
			return s.kind, nil
		}
	}
	return "", nil
}

// is says that name ends with the names of s.
func (s saved) is(name string) bool {
	parts := strings.Count(s.name, "/") + 1
	names := strings.Split(strings.TrimPrefix(name, "/"), "/")
	if len(names) < parts {
		return false
	}
	ok, err := path.Match(s.name, strings.Join(names[len(names)-parts:], "/"))
	return err == nil && ok
}
