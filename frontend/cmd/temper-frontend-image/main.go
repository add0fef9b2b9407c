// Command temper-frontend-image makes the frontend image from a built binary:
//
//	temper-frontend-image BINARY DIRECTORY [OS/ARCH]
//
// It writes an OCI layout into the directory and prints the manifest's digest.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"github.com/containerd/platforms"

	"github.com/temper-images/temper/frontend/image"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if len(os.Args) < 3 || len(os.Args) > 4 {
		fmt.Fprintln(os.Stderr, "usage: temper-frontend-image BINARY DIRECTORY [OS/ARCH]")
		os.Exit(64)
	}
	platform := platforms.DefaultSpec()
	platform.OS = "linux"
	if len(os.Args) == 4 {
		var err error
		if platform, err = platforms.Parse(os.Args[3]); err != nil {
			fmt.Fprintln(os.Stderr, "temper-frontend-image:", err)
			os.Exit(64)
		}
	}
	dgst, err := image.Layout(ctx, os.Args[1], os.Args[2], platforms.Normalize(platform))
	if err != nil {
		fmt.Fprintln(os.Stderr, "temper-frontend-image:", err)
		os.Exit(1)
	}
	fmt.Println(dgst)
}
