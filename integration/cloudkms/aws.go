package cloudkms

import (
	"crypto/x509"
	"encoding/json"
	"maps"
	"net/http"
	"strings"
)

// AWSKey names the key for temper and cosign.
const AWSKey = "awskms:///arn:aws:kms:us-east-1:111122223333:key/1234abcd-12ab-34cd-56ef-1234567890ab"

const awsAccess = "AKIDEXAMPLE"

func (c *Cloud) setUpAWS() {
	maps.Copy(c.env, map[string]string{"AWS_ACCESS_KEY_ID": awsAccess, "AWS_SECRET_ACCESS_KEY": "aws-secret-that-nobody-prints", "AWS_REGION": "us-east-1"})
}

// aws answers as AWS KMS does (API version 2014-11-01).
func (c *Cloud) aws(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-amz-json-1.1")
	refuse := func(status int, kind, message string) {
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]string{"__type": kind, "message": message}) // the client went away
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential="+awsAccess+"/") || !strings.Contains(r.Header.Get("Authorization"), "/us-east-1/kms/aws4_request") {
		refuse(http.StatusBadRequest, "UnrecognizedClientException", "The security token included in the request is invalid.")
		return
	}
	if c.isDown() {
		refuse(http.StatusServiceUnavailable, "KMSInternalException", "out of order")
		return
	}
	var in struct{ Message []byte }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<20)).Decode(&in); err != nil {
		refuse(http.StatusBadRequest, "SerializationException", err.Error())
		return
	}
	algorithms := []string{"ECDSA_SHA_256"}
	var answer any
	switch _, method, _ := strings.Cut(r.Header.Get("X-Amz-Target"), "."); method {
	case "GetPublicKey":
		der, err := x509.MarshalPKIXPublicKey(c.Key.Public())
		if err != nil {
			refuse(http.StatusInternalServerError, "KMSInternalException", err.Error())
			return
		}
		answer = map[string]any{"KeyId": AWSKey[len("awskms:///"):], "PublicKey": der, "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY", "SigningAlgorithms": algorithms}
	case "DescribeKey":
		answer = map[string]any{"KeyMetadata": map[string]any{"KeyId": AWSKey[len("awskms:///"):], "KeyUsage": "SIGN_VERIFY", "SigningAlgorithms": algorithms}}
	case "Sign":
		sig, err := c.sign("aws", in.Message)
		if err != nil {
			refuse(http.StatusInternalServerError, "KMSInternalException", err.Error())
			return
		}
		answer = map[string]any{"Signature": sig, "SigningAlgorithm": algorithms[0]}
	default:
		refuse(http.StatusBadRequest, "UnknownOperationException", method)
		return
	}
	_ = json.NewEncoder(w).Encode(answer) // the client went away
}
