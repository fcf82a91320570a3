// Consume results in a group: each finished reaches one member, at least once. A bare NATS client.
//
//	cd examples/streams/nats/go && NATS_URL=nats://localhost:4222 go run ./consume GROUP [COUNT]
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
)

type result struct {
	ExecutionID string `json:"execution_id"`
	Outcome     string `json:"outcome"`
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
	group, count := os.Args[1], -1
	if len(os.Args) > 2 {
		count, _ = strconv.Atoi(os.Args[2])
	}
	results, err := streams.PullSubscribe("millrace.results", group)
	if err != nil {
		log.Fatal(err)
	}
	for count != 0 {
		messages, err := results.Fetch(1, nats.MaxWait(5*time.Second))
		if err == nats.ErrTimeout {
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		for _, message := range messages {
			handle(message)
			count--
		}
	}
}

// handle would write a result under its execution_id, so that the second time changes nothing, and only then
// acknowledges. What a member that died had taken comes to another one after a while.
func handle(message *nats.Msg) {
	var ended result
	if err := json.Unmarshal(message.Data, &ended); err != nil {
		log.Fatal(err)
	}
	fmt.Println(ended.ExecutionID, ended.Outcome)
	if err := message.AckSync(); err != nil {
		log.Fatal(err)
	}
}
