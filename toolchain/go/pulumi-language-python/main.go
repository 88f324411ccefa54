// A slim Python language host for the Pulumi CLI, on the Pulumi SDK of the same
// version. It serves the calls that running programs and policy packs needs;
// code generation and packing answer "unimplemented".
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"google.golang.org/grpc"
)

// engineCheckInterval is how often the host asks whether the CLI still lives, so
// that a killed CLI leaves no Python program behind.
const engineCheckInterval = 5 * time.Second

func main() {
	// The CLI passes -logtostderr and -v, which the SDK's log package defines, and these.
	flag.String("tracing", "", "accepted for the CLI's sake")
	flag.Bool("logflow", false, "accepted for the CLI's sake")
	flag.Parse()
	if err := serve(flag.Arg(0)); err != nil {
		fmt.Fprintf(os.Stderr, "pulumi-language-python: %v\n", err)
		os.Exit(1)
	}
}

// serve answers the engine until it is interrupted or the engine is gone.
func serve(engine string) error {
	alive, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if engine != "" {
		if err := rpcutil.Healthcheck(alive, engine, engineCheckInterval, stop); err != nil {
			return fmt.Errorf("watching the engine at %s: %w", engine, err)
		}
	}

	cancel := make(chan bool)
	go func() {
		<-alive.Done()
		close(cancel)
	}()
	handle, err := rpcutil.ServeWithOptions(rpcutil.ServeOptions{
		Cancel: cancel,
		Init: func(server *grpc.Server) error {
			pulumirpc.RegisterLanguageRuntimeServer(server, newHost(alive, engine))
			return nil
		},
	})
	if err != nil {
		return err
	}
	fmt.Println(handle.Port)
	return <-handle.Done
}
