// Command service is a small web service of one static binary.
package main

import (
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"log"
	"mime"
	"net"
	"net/http"
	"os"
	"os/user"
	"time"
)

func main() {
	http.HandleFunc("/time", func(w http.ResponseWriter, r *http.Request) {
		zone, err := time.LoadLocation(r.FormValue("zone"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintln(w, time.Unix(1_750_000_000, 0).In(zone).Format(time.RFC3339))
	})
	http.HandleFunc("/fetch", func(w http.ResponseWriter, r *http.Request) {
		res, err := http.Get(r.FormValue("url"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer res.Body.Close()
		io.Copy(w, res.Body)
	})
	http.HandleFunc("/about", func(w http.ResponseWriter, _ *http.Request) {
		about := map[string]any{"type": mime.TypeByExtension(".odt")}
		if u, err := user.LookupId(fmt.Sprint(os.Getuid())); err == nil {
			about["user"] = u.Username
		}
		if a, err := net.LookupHost("localhost"); err == nil {
			about["localhost"] = a[0]
		}
		if p, err := net.LookupPort("tcp", "https"); err == nil {
			about["https"] = p
		}
		json.NewEncoder(w).Encode(about)
	})
	http.HandleFunc("/page/{name}", func(w http.ResponseWriter, r *http.Request) {
		t, err := template.ParseFiles("/srv/pages/" + r.PathValue("name") + ".html")
		if err != nil {
			http.Error(w, "no such page", http.StatusNotFound)
			return
		}
		t.Execute(w, r.FormValue("who"))
	})
	log.Fatal(http.ListenAndServe(":8080", nil))
}
