// Program app is the small HTTP server that tests build and deploy. Variables set its behaviour:
//
//	PORT         what it listens on, 8080 by default
//	VERSION      what / and /version print
//	GREETING     printed by / after the version
//	BAD=1        /healthz answers 500
//	BAD=circle   /healthz redirects to itself; BAD=slow: it answers after a minute
//	LISTEN       what it listens on in spite of PORT
//	NEEDS        the name of a variable without which it exits with 1
//	EAT=1        takes memory until it is ended
//	WRITES       a file that it writes before it listens; where it can't, it exits with 5
//	CRASH=1      prints a line to standard error and exits with 3
//	START_DELAY  a duration to wait before it listens
//	STOP_DELAY   a duration that it goes on serving after SIGTERM
//
// With arguments it serves nobody: "say NAME" prints a variable, "fail N" prints a line and exits with N, "sleep" waits.
//
// It logs a line at start, at each request and at its end. Paths: / and /version; /healthz;
// /env?name= prints a variable; /write?path=&text= writes a file and /read?path= prints it; /slow?ms= answers after so many milliseconds; /sse sends an event
// each 100 ms, or each ?ms=, until the client goes; /ws is a WebSocket that sends back what it
// gets; /size?bytes= sends so many bytes; /exit answers and exits with 4.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/net/websocket"
)

func main() {
	version := os.Getenv("VERSION")
	if os.Getenv("CRASH") == "1" {
		log.Printf("version %s: crashing, as CRASH=1 asks", version)
		os.Exit(3)
	}
	prepare(version)
	stop, cancel := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer cancel()
	pause(stop, duration("START_DELAY"))

	if len(os.Args) > 1 {
		command(stop, os.Args[1:])
		return
	}
	port := os.Getenv("PORT")
	if port == "" {
		port = "8080"
	}
	if other := os.Getenv("LISTEN"); other != "" {
		port = other
	}
	server := &http.Server{Addr: ":" + port, Handler: logged(routes(version)), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		log.Printf("version %s: listening on %s", version, port)
		if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
			log.Fatal(err)
		}
	}()
	<-stop.Done()
	log.Printf("version %s: stopping", version)
	pause(context.Background(), duration("STOP_DELAY"))
	end, cancelEnd := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancelEnd()
	_ = server.Shutdown(end)
	log.Printf("version %s: stopped", version)
}

// prepare fails as the variables ask.
func prepare(version string) {
	if name := os.Getenv("NEEDS"); name != "" && os.Getenv(name) == "" {
		log.Printf("version %s: the variable %s is not set", version, name)
		os.Exit(1)
	}
	if path := os.Getenv("WRITES"); path != "" {
		if err := os.WriteFile(path, []byte(version), 0o600); err != nil {
			log.Printf("version %s: %v", version, err)
			os.Exit(5)
		}
	}
	if os.Getenv("EAT") == "1" {
		log.Printf("version %s: loading everything into memory", version)
		for taken := [][]byte{}; ; {
			piece := make([]byte, 1<<20)
			for i := 0; i < len(piece); i += 1 << 10 {
				piece[i] = 1
			}
			taken = append(taken, piece)
		}
	}
}

func command(stop context.Context, args []string) {
	args = append(args, "")
	switch args[0] {
	case "say":
		fmt.Println(os.Getenv(args[1]))
	case "fail":
		fmt.Println("failing")
		code, _ := strconv.Atoi(args[1])
		os.Exit(code)
	case "sleep":
		<-stop.Done()
	}
}

func routes(version string) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "version %s\n%s\n", version, os.Getenv("GREETING"))
	})
	mux.HandleFunc("GET /version", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, version) })
	mux.HandleFunc("GET /healthz", healthz)
	mux.HandleFunc("GET /order", func(w http.ResponseWriter, _ *http.Request) {
		if os.Getenv("BROKEN") == "1" {
			http.Error(w, "no orders, as BROKEN=1 asks", http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /env", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintln(w, os.Getenv(r.URL.Query().Get("name")))
	})
	mux.HandleFunc("GET /write", func(w http.ResponseWriter, r *http.Request) {
		if err := os.WriteFile(r.URL.Query().Get("path"), []byte(r.URL.Query().Get("text")), 0o644); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
		}
	})
	mux.HandleFunc("GET /read", func(w http.ResponseWriter, r *http.Request) {
		text, err := os.ReadFile(r.URL.Query().Get("path"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusNotFound)
			return
		}
		_, _ = w.Write(text)
	})
	mux.HandleFunc("GET /slow", func(w http.ResponseWriter, r *http.Request) {
		pause(r.Context(), milliseconds(r, 1000))
		fmt.Fprintf(w, "version %s\n", version)
	})
	mux.HandleFunc("GET /exit", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "4") // so that the answer is whole when it is flushed
		fmt.Fprintln(w, "bye")
		_ = http.NewResponseController(w).Flush()
		log.Printf("version %s: the connection to the queue is lost, giving up", version)
		os.Exit(4)
	})
	mux.HandleFunc("GET /sse", events)
	mux.Handle("GET /ws", websocket.Server{Handler: func(c *websocket.Conn) { _, _ = io.Copy(c, c) }})
	mux.HandleFunc("GET /size", func(w http.ResponseWriter, r *http.Request) {
		n, _ := strconv.ParseInt(r.URL.Query().Get("bytes"), 10, 64)
		_, _ = io.CopyN(w, zeros{}, n)
	})
	return mux
}

func healthz(w http.ResponseWriter, r *http.Request) {
	switch os.Getenv("BAD") {
	case "1":
		http.Error(w, "unhealthy, as BAD=1 asks", http.StatusInternalServerError)
		return
	case "circle":
		http.Redirect(w, r, r.URL.Path, http.StatusFound)
		return
	case "slow":
		pause(r.Context(), time.Minute)
	}
	fmt.Fprintln(w, "ok")
}

func events(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	for n := 1; r.Context().Err() == nil; n++ {
		fmt.Fprintf(w, "id: %d\ndata: event %d\n\n", n, n)
		if http.NewResponseController(w).Flush() != nil {
			return
		}
		pause(r.Context(), milliseconds(r, 100))
	}
}

func logged(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		next.ServeHTTP(w, r)
		log.Printf("%s %s", r.Method, r.URL.Path)
	})
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func duration(name string) time.Duration {
	d, _ := time.ParseDuration(os.Getenv(name))
	return d
}

func milliseconds(r *http.Request, otherwise int) time.Duration {
	if n, err := strconv.Atoi(r.URL.Query().Get("ms")); err == nil {
		otherwise = n
	}
	return time.Duration(otherwise) * time.Millisecond
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
