// probe is the client and server of the cluster's self-check, for images that
// hold nothing else.
//
//	probe serve ADDRESS           answers "probe\n" to everything, until killed
//	probe get AGENT URL...        GETs each URL in turn with that User-Agent
//
// get waits up to 30 s for each URL's first answer and fails on a status other
// than 2xx.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"time"
)

const patience = 30 * time.Second

func main() {
	log.SetFlags(0)
	log.SetPrefix("probe: ")
	switch args := os.Args[1:]; {
	case len(args) == 2 && args[0] == "serve":
		log.Fatal(serve(args[1]))
	case len(args) >= 3 && args[0] == "get":
		fmt.Printf("index=%s\n", os.Getenv("JOB_COMPLETION_INDEX"))
		for _, url := range args[2:] {
			if err := get(args[1], url); err != nil {
				log.Fatal(err)
			}
		}
	default:
		log.Fatal("usage: probe serve ADDRESS | get AGENT URL...")
	}
}

func serve(address string) error {
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	fmt.Println("listening on", listener.Addr())
	return http.Serve(listener, http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "probe\n") }))
}

// get retries only what fails before an answer: a Service may have no endpoint yet.
func get(agent, url string) error {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	request.Header.Set("User-Agent", agent)
	client := http.Client{Timeout: 5 * time.Second}
	for begun := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		response, err := client.Do(request)
		if err != nil {
			if time.Since(begun) > patience {
				return err
			}
			continue
		}
		body, err := io.ReadAll(response.Body)
		response.Body.Close()
		if err != nil {
			return err
		}
		fmt.Printf("%s %d %d bytes\n", url, response.StatusCode, len(body))
		if response.StatusCode/100 != 2 {
			return fmt.Errorf("%s answered %s", url, response.Status)
		}
		return nil
	}
}
