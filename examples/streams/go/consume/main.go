// Consume results in a group: each finished reaches one member, at least once. A plain Redis client.
//
//	cd examples/streams/go && REDIS_URL=redis://localhost:6379 go run ./consume GROUP [COUNT]
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"example/millrace-streams/broker"
)

const (
	results        = "millrace:results"
	abandonedAfter = time.Minute
)

type result struct {
	ExecutionID string `json:"execution_id"`
	Outcome     string `json:"outcome"`
}

func main() {
	ctx := context.Background()
	client := broker.Connect()
	group, count := os.Args[1], -1
	if len(os.Args) > 2 {
		count, _ = strconv.Atoi(os.Args[2])
	}
	host, _ := os.Hostname()
	member := fmt.Sprintf("%s-%d", host, os.Getpid())
	err := client.XGroupCreateMkStream(ctx, results, group, "0").Err()
	if err != nil && !strings.Contains(err.Error(), "BUSYGROUP") { // else another member made it
		log.Fatal(err)
	}
	for count != 0 {
		for _, message := range take(ctx, client, group, member) {
			handle(ctx, client, group, message)
			if count--; count == 0 {
				break
			}
		}
	}
}

// take returns what a dead member left behind, or else what is new; nothing if nothing came for a while.
func take(ctx context.Context, client *redis.Client, group, member string) []redis.XMessage {
	left, _, err := client.XAutoClaim(ctx, &redis.XAutoClaimArgs{
		Stream: results, Group: group, Consumer: member, MinIdle: abandonedAfter, Start: "0", Count: 10,
	}).Result()
	if err != nil {
		log.Fatal(err)
	}
	if len(left) > 0 {
		return left
	}
	fresh, err := client.XReadGroup(ctx, &redis.XReadGroupArgs{
		Group: group, Consumer: member, Streams: []string{results, ">"}, Count: 10, Block: 5 * time.Second,
	}).Result()
	if err == redis.Nil {
		return nil
	}
	if err != nil {
		log.Fatal(err)
	}
	return fresh[0].Messages
}

// handle notes a result under its key before it acknowledges it: one that comes twice changes nothing.
func handle(ctx context.Context, client *redis.Client, group string, message redis.XMessage) {
	var ended result
	if err := json.Unmarshal([]byte(message.Values["data"].(string)), &ended); err != nil {
		log.Fatal(err)
	}
	if err := client.HSet(ctx, group+":outcomes", ended.ExecutionID, ended.Outcome).Err(); err != nil {
		log.Fatal(err)
	}
	if err := client.XAck(ctx, results, group, message.ID).Err(); err != nil {
		log.Fatal(err)
	}
	fmt.Println(ended.ExecutionID, ended.Outcome)
}
