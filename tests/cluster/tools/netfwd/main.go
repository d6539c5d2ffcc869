// netfwd joins two network namespaces by one TCP listener and nothing else.
//
//	netfwd [-until-exit PID] LISTEN TARGET NETNS
//
// It listens at LISTEN inside the namespace NETNS (a path such as
// /proc/1/ns/net) and copies each connection to TARGET in the namespace it was
// started in. It prints "listening on ADDRESS" once it does, so LISTEN may have
// port 0. With -until-exit it ends with that process: a forwarder that outlived
// its cluster would keep the cluster's network namespace alive.
package main

import (
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

func main() {
	log.SetFlags(0)
	log.SetPrefix("netfwd: ")
	untilExit := flag.Int("until-exit", 0, "end when the process with this `pid` does")
	flag.Parse()
	if flag.NArg() != 3 {
		log.Fatal("usage: netfwd [-until-exit PID] LISTEN TARGET NETNS")
	}
	listen, target, netns := flag.Arg(0), flag.Arg(1), flag.Arg(2)

	if *untilExit != 0 {
		pidfd, err := unix.PidfdOpen(*untilExit, 0)
		if err != nil {
			log.Fatalf("process %d: %v", *untilExit, err)
		}
		go exitWith(pidfd)
	}
	listener, err := listenIn(netns, listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", listener.Addr())
	for {
		conn, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go forward(conn.(*net.TCPConn), target)
	}
}

// exitWith ends this process when the one behind pidfd has ended.
func exitWith(pidfd int) {
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		if n, err := unix.Poll(fds, -1); err == nil && n > 0 {
			os.Exit(0)
		}
	}
}

// listenIn opens a listener in another network namespace. A socket stays in the
// namespace it was made in, so only the thread that makes it has to go there.
func listenIn(netns, address string) (net.Listener, error) {
	type result struct {
		net.Listener
		error
	}
	done := make(chan result)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with this goroutine
		file, err := os.Open(netns)
		if err != nil {
			done <- result{nil, err}
			return
		}
		defer file.Close()
		if err := unix.Setns(int(file.Fd()), unix.CLONE_NEWNET); err != nil {
			done <- result{nil, fmt.Errorf("enter %s: %w", netns, err)}
			return
		}
		listener, err := net.Listen("tcp", address)
		done <- result{listener, err}
	}()
	r := <-done
	return r.Listener, r.error
}

// forward copies both directions and passes each end of stream on by itself, so
// that half-closed connections work as they would without the forwarder.
func forward(client *net.TCPConn, target string) {
	defer client.Close()
	conn, err := net.Dial("tcp", target)
	if err != nil {
		log.Print(err)
		return
	}
	server := conn.(*net.TCPConn)
	defer server.Close()
	sent := make(chan struct{})
	go func() {
		io.Copy(server, client)
		server.CloseWrite()
		close(sent)
	}()
	io.Copy(client, server)
	client.CloseWrite()
	<-sent
}
