package evidence

import "strings"

// Credentials open a store. Their values are the secrets themselves: references
// to secret managers are resolved by the caller. The zero value takes what the
// environment offers, as the store's own tools do.
type Credentials struct {
	// Account is S3's access key ID and Azure's storage account. Google Cloud
	// Storage has none.
	Account string
	// Secret is S3's secret access key; the JSON of a service account's key for
	// Google Cloud Storage; and for Azure an account key, a shared access
	// signature ("sv=…&sig=…") or a connection string ("AccountName=…;AccountKey=…").
	Secret string
	// Token is S3's session token, for temporary credentials.
	Token string
}

func (c Credentials) isZero() bool { return c == Credentials{} }

// isConnectionString says that an Azure secret is a connection string.
func isConnectionString(secret string) bool {
	return strings.Contains(secret, "AccountName=") || strings.Contains(secret, "BlobEndpoint=")
}

// isSharedAccessSignature says that an Azure secret is one.
func isSharedAccessSignature(secret string) bool { return strings.Contains(secret, "sig=") }

// String hides the values, also from fmt's verbs.
func (c Credentials) String() string {
	if c.isZero() {
		return "from the environment"
	}
	return "given"
}

// GoString hides the values from %#v.
func (c Credentials) GoString() string { return "evidence.Credentials{" + c.String() + "}" }
