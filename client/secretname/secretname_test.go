package secretname_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/temper-images/temper/client/secretname"
)

func TestLikely(t *testing.T) {
	for _, name := range []string{
		"PASSWORD", "DB_PASSWORD", "dbPassword", "db.password", "MYSQL_ROOT_PASSWORD", "PGPASSWORD", "MYSQL_PWD", "SMTP_PASS",
		"TOKEN", "NPM_TOKEN", "NODE_AUTH_TOKEN", "GITHUBTOKEN", "npmToken", "GH_PAT", "TOKEN2", "TOKEN_2", "TOKEN_NPM",
		"SECRET", "APP_SECRET", "CLIENT_SECRET", "clientSecret", "VAULT_SECRET_ID", "SECRETS", "SECRET_KEY_BASE",
		"API_KEY", "APIKEY", "OPENAI_API_KEY", "X-API-Key", "AWS_SECRET_ACCESS_KEY", "SSH_PRIVATE_KEY", "SIGNING_KEY",
		"PASSPHRASE", "GPG_PASSPHRASE", "CREDENTIALS", "GOOGLE_CREDENTIALS", "NPM_CONFIG__AUTH", "PASSWORD_PROD",
	} {
		require.True(t, secretname.Likely(name), name)
	}
	for _, name := range []string{
		"", "_", "1", "TOKENIZER", "TOKENIZERS_PARALLELISM", "TOKENIZER_PATH", "PUBLIC_KEY", "PUBLIC_TOKEN", "GPG_KEY", "KEY", "KEYBOARD",
		"KEYCLOAK_VERSION", "MONKEY", "PWD", "OLDPWD", "BYPASS", "COMPASS_VERSION", "PASS", "AUTHOR", "AUTH", "AUTH_URL",
		"POSTGRES_PASSWORD_FILE", "TOKEN_TTL", "SECRET_NAME", "SECRETS_DIR", "PASSWORD_MIN_LENGTH", "API_KEY_HEADER", "CLIENT_ID",
		"VERSION", "GOPROXY", "HTTP_PROXY", "BUILDKIT_SYNTAX", "SOURCE_DATE_EPOCH", "PATH", "SECRETARY", "PATTERN", "CACHE_KEY",
	} {
		require.False(t, secretname.Likely(name), name)
	}
}
