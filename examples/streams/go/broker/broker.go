// Package broker connects to the broker that REDIS_URL names, also by a unix socket.
package broker

import (
	"log"
	"os"

	"github.com/redis/go-redis/v9"
)

// Connect returns a client, or ends the program with what is wrong with REDIS_URL.
func Connect() *redis.Client {
	url := os.Getenv("REDIS_URL")
	if url == "" {
		url = "redis://localhost:6379"
	}
	options, err := redis.ParseURL(url)
	if err != nil {
		log.Fatal(err)
	}
	return redis.NewClient(options)
}
