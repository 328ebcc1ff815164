// Command sshprobe is what a build of the tests runs with an SSH agent: it has a
// text signed by each key, prints the signatures, and tries to change the agent.
package main

import (
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"fmt"
	"log"
	"net"
	"os"

	"golang.org/x/crypto/ssh/agent"
)

func main() {
	conn, err := net.Dial("unix", os.Getenv("SSH_AUTH_SOCK"))
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	client := agent.NewClient(conn)
	keys, err := client.List()
	if err != nil {
		log.Fatal(err)
	}
	for _, k := range keys {
		signature, err := client.Sign(k, []byte(os.Args[1]))
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("signed %s %s\n", signature.Format, base64.StdEncoding.EncodeToString(signature.Blob))
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		log.Fatal(err)
	}
	if client.Add(agent.AddedKey{PrivateKey: key}) == nil || client.RemoveAll() == nil || client.Lock([]byte("x")) == nil {
		log.Fatal("the build changed the agent")
	}
}
