// Publish a job straight onto the stream and read its log: nothing of Millrace, a plain Redis client.
//
//	cd examples/streams/go && REDIS_URL=redis://localhost:6379 go run ./publish
package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"example/millrace-streams/broker"
)

type event struct {
	Seq     int    `json:"seq"`
	Type    string `json:"type"`
	Data    string `json:"data"`
	Outcome string `json:"outcome"`
}

func main() {
	ctx := context.Background()
	client := broker.Connect()
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
	entry := &redis.XAddArgs{Stream: "millrace:requests", Values: map[string]any{"data": request}}
	if err := client.XAdd(ctx, entry).Err(); err != nil {
		log.Fatal(err)
	}

	last := "0"
	for {
		read := &redis.XReadArgs{Streams: []string{"millrace:log:" + job, last}, Block: time.Minute}
		streams, err := client.XRead(ctx, read).Result()
		if err == redis.Nil {
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		for _, message := range streams[0].Messages {
			last = message.ID
			var happened event
			if err := json.Unmarshal([]byte(message.Values["data"].(string)), &happened); err != nil {
				log.Fatal(err)
			}
			line := fmt.Sprintf("%d %s %s%s", happened.Seq, happened.Type, happened.Data, happened.Outcome)
			fmt.Println(strings.TrimRight(line, " \n"))
			if happened.Type == "finished" {
				return
			}
		}
	}
}
