//go:build cgo

// Command sigstore-kms-pkcs11 signs with keys in PKCS#11 tokens. It speaks
// Sigstore's protocol for key management plugins, v1: settings and arguments as
// JSON in the second argument, the answer as JSON on stdout. Temper runs it for
// pkcs11: URIs.
//
// The token's library comes from its vendor and is loaded into the process. That
// is why this is a program of its own, which holds no other secret than the
// token's PIN, and why it alone is built with cgo.
package main

import (
	"fmt"
	"os"

	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/common"
	"github.com/sigstore/sigstore/pkg/signature/kms/cliplugin/handler"
)

func main() {
	if err := run(os.Args); err != nil {
		// The protocol has the reason in the answer; the code is for people.
		if werr := handler.WriteErrorResponse(os.Stdout, err); werr != nil {
			fmt.Fprintln(os.Stderr, werr)
		}
		os.Exit(1)
	}
}

func run(args []string) error {
	request, err := handler.GetPluginArgs(args)
	if err != nil {
		return fmt.Errorf("%w (this program is for temper to run)", err)
	}
	if request.InitOptions == nil || request.MethodArgs == nil {
		return fmt.Errorf("the request names no key or no method")
	}
	if request.InitOptions.ProtocolVersion != common.ProtocolVersion {
		return fmt.Errorf("version %q of the plugin protocol is not spoken here; %s is", request.InitOptions.ProtocolVersion, common.ProtocolVersion)
	}
	if err := complete(request.MethodArgs); err != nil {
		return err
	}
	t, err := open(request.InitOptions.KeyResourceID)
	if err != nil {
		return err
	}
	defer t.close()
	_, err = handler.Dispatch(os.Stdout, os.Stdin, request, t)
	return err
}

// complete adds the options that a request may leave out, and refuses one without
// its arguments: the library takes both for granted.
func complete(m *common.MethodArgs) error {
	missing := false
	switch m.MethodName {
	case common.PublicKeyMethodName:
		if missing = m.PublicKey == nil; !missing && m.PublicKey.PublicKeyOptions == nil {
			m.PublicKey.PublicKeyOptions = &common.PublicKeyOptions{}
		}
	case common.SignMessageMethodName:
		if missing = m.SignMessage == nil; !missing && m.SignMessage.SignOptions == nil {
			m.SignMessage.SignOptions = &common.SignOptions{}
		}
	case common.VerifySignatureMethodName:
		if missing = m.VerifySignature == nil; !missing && m.VerifySignature.VerifyOptions == nil {
			m.VerifySignature.VerifyOptions = &common.VerifyOptions{}
		}
	case common.CreateKeyMethodName:
		missing = m.CreateKey == nil
	}
	if missing {
		return fmt.Errorf("the request has no arguments for %s", m.MethodName)
	}
	return nil
}
