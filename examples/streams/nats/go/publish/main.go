// Publish a job straight onto JetStream and read its log: nothing of Millrace, a bare NATS client.
//
//	cd examples/streams/nats/go && NATS_URL=nats://localhost:4222 go run ./publish
package main

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

type event struct {
	Seq     int    `json:"seq"`
	Type    string `json:"type"`
	Data    string `json:"data"`
	Outcome string `json:"outcome"`
}

func main() {
	connection, err := nats.Connect(os.Getenv("NATS_URL")) // none given: this machine
	if err != nil {
		log.Fatal(err)
	}
	defer connection.Close()
	streams, err := connection.JetStream()
	if err != nil {
		log.Fatal(err)
	}
	name := make([]byte, 8)
	if _, err := rand.Read(name); err != nil {
		log.Fatal(err)
	}
	job := fmt.Sprintf("job-%x", name) // the idempotency key: publishing it twice still runs it once
	request, err := json.Marshal(map[string]string{
		"id": job, "language": "bash", "code": "for n in 0 1 2; do echo line $n; done", "stdin": "",
	})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := streams.Publish("millrace.requests", request); err != nil {
		log.Fatal(err)
	}

	events, err := streams.SubscribeSync("millrace.log."+job, nats.OrderedConsumer())
	if err != nil {
		log.Fatal(err)
	}
	for {
		message, err := events.NextMsg(time.Minute)
		if err == nats.ErrTimeout {
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		var happened event
		if err := json.Unmarshal(message.Data, &happened); err != nil {
			log.Fatal(err)
		}
		line := fmt.Sprintf("%d %s %s%s", happened.Seq, happened.Type, happened.Data, happened.Outcome)
		fmt.Println(strings.TrimRight(line, " \n"))
		if happened.Type == "finished" {
			return
		}
	}
}
