// Command files serves a directory, and itself to those who ask for a checksum.
package main

import (
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
)

func main() {
	dir := flag.String("dir", ".", "the directory")
	sum := flag.String("sum", "", "print the checksum of a file and end")
	flag.Parse()
	if *sum != "" {
		f, err := os.Open(*sum)
		if err != nil {
			log.Fatal(err)
		}
		h := sha256.New()
		io.Copy(h, f)
		fmt.Printf("%x\n", h.Sum(nil))
		return
	}
	log.Fatal(http.ListenAndServe(":8080", http.FileServer(http.Dir(*dir))))
}
