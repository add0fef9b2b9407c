package evidence

import "strings"

// access says for each scheme what a store is opened with.
var access = map[string]string{
	schemeS3: "give an access key that may get, put and list objects, in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, " +
		"by a profile or a role of the machine, or in temper.yaml (evidence.account, evidence.secret)",
	schemeGCS: "give credentials that may get, create and list objects, in GOOGLE_APPLICATION_CREDENTIALS, by gcloud auth application-default login, " +
		"a service account of the machine, or in temper.yaml (evidence.secret, the JSON of a service account's key)",
	schemeAzure: "give credentials that may read, create and list blobs, in AZURE_STORAGE_ACCOUNT with AZURE_STORAGE_KEY or AZURE_STORAGE_SAS_TOKEN, " +
		"in AZURE_STORAGE_CONNECTION_STRING, by a managed identity, or in temper.yaml (evidence.account, evidence.secret)",
	schemeFile: "the user who runs temper needs to read and write the folder",
}

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
