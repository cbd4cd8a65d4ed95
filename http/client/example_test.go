package client_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"etcd2/http/client"
)

func Example() {
	c, err := client.New(client.Config{Endpoints: []string{"http://10.0.0.1:2379", "http://10.0.0.2:2379"}})
	if err != nil {
		log.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()

	if _, err := c.Set(ctx, "/message", "Hello", client.SetOptions{TTL: time.Minute}); err != nil {
		log.Fatal(err)
	}
	resp, err := c.Get(ctx, "/message", client.GetOptions{Quorum: true})
	switch {
	case client.IsKeyNotFound(err):
		fmt.Println("nobody has said anything")
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Println(resp.Node.Value, "ends in", resp.Node.TTL, "seconds")
	}
}

// A lock is a key that only one client can create. It expires when its owner does not refresh it.
func ExampleClient_Create() {
	c, err := client.New(client.Config{Endpoints: []string{"http://127.0.0.1:2379"}})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	_, err = c.Create(ctx, "/lock", "me", client.SetOptions{TTL: 10 * time.Second, RequestID: client.NewRequestID()})
	switch {
	case client.IsKeyExists(err):
		fmt.Println("somebody else has it")
	case errors.Is(err, client.ErrUnknown):
		fmt.Println("read the key to see whose it is")
	case err == nil:
		_, err = c.Refresh(ctx, "/lock", 10*time.Second, client.SetOptions{PrevValue: "me"})
	}
}

// A copy of a directory that follows it for ever: it reads everything, and then every later change.
func ExampleClient_Watch() {
	c, err := client.New(client.Config{Endpoints: []string{"http://127.0.0.1:2379"}})
	if err != nil {
		log.Fatal(err)
	}
	ctx := context.Background()
	for {
		all, err := c.Get(ctx, "/config", client.GetOptions{Recursive: true, Quorum: true})
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("all of it:", all.Node)
		w := c.Watch("/config", client.WatchOptions{AfterIndex: all.Index, Recursive: true})
		for err == nil {
			var event *client.Response
			if event, err = w.Next(ctx); err == nil {
				fmt.Println(event.Action, event.Node.Key, event.Node.Value)
			}
		}
		if !client.IsHistoryCleared(err) {
			log.Fatal(err)
		}
	}
}
