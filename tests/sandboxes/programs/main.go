package main

import (
	"bufio"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"
)

func main() {
	rest := os.Args[2:]
	switch os.Args[1] {
	case "echo":
		for in := bufio.NewScanner(os.Stdin); in.Scan(); {
			fmt.Println("got", in.Text())
		}
	case "args":
		fmt.Println(strings.Join(rest, "\n"))
	case "exit":
		os.Exit(3)
	case "stderr":
		fmt.Fprintln(os.Stderr, "oops")
	case "crash":
		syscall.Kill(syscall.Getpid(), syscall.SIGKILL)
	case "unicode":
		fmt.Println("žluťoučký 🐎 漢字")
	case "lines":
		for number := 1; number <= 200; number++ {
			fmt.Println("line", number)
		}
	case "memory":
		for kept := [][]byte{}; ; {
			block := make([]byte, 16<<20)
			for i := range block {
				block[i] = 1
			}
			kept = append(kept, block)
		}
	case "loop":
		fmt.Println("before")
		for {
			time.Sleep(10 * time.Millisecond)
		}
	case "file":
		os.WriteFile("out.txt", []byte("made here\n"), 0o644)
	}
}
