//go:build !cgo

// Command sigstore-kms-pkcs11 signs with keys in PKCS#11 tokens. This build of it,
// without cgo, can only say that it cannot.
package main

import (
	"fmt"
	"os"
)

func main() {
	fmt.Println(`{"errorMessage":"this sigstore-kms-pkcs11 was built without cgo, and can load no token's library: build it with CGO_ENABLED=1"}`)
	os.Exit(1)
}
