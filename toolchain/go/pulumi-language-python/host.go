package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/pulumi/pulumi/sdk/v3/go/common/util/rpcutil"
	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/pulumi/pulumi/sdk/v3/python/toolchain"
	"google.golang.org/protobuf/types/known/emptypb"
)

// stopGrace is how long an interrupted Python process may take to end.
const stopGrace = 5 * time.Second

// version is stamped by the linker.
var version string

// host implements the language runtime for Python.
type host struct {
	pulumirpc.UnimplementedLanguageRuntimeServer

	lock   sync.Mutex
	engine string             // address of the engine
	run    context.Context    // ends when the engine cancels the operation
	cancel context.CancelFunc // ends run
}

func newHost(alive context.Context, engine string) *host {
	run, cancel := context.WithCancel(alive)
	return &host{engine: engine, run: run, cancel: cancel}
}

// Handshake notes the address of the engine.
func (h *host) Handshake(
	_ context.Context, req *pulumirpc.LanguageHandshakeRequest,
) (*pulumirpc.LanguageHandshakeResponse, error) {
	h.lock.Lock()
	defer h.lock.Unlock()
	h.engine = req.GetEngineAddress()
	return &pulumirpc.LanguageHandshakeResponse{}, nil
}

func (h *host) engineAddress() string {
	h.lock.Lock()
	defer h.lock.Unlock()
	return h.engine
}

// Cancel interrupts every Python process that runs for the engine.
func (h *host) Cancel(context.Context, *emptypb.Empty) (*emptypb.Empty, error) {
	h.cancel()
	return &emptypb.Empty{}, nil
}

// operation gives a context that ends with the request or with Cancel.
func (h *host) operation(request context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(request)
	release := context.AfterFunc(h.run, cancel)
	return ctx, func() { release(); cancel() }
}

// stopWith makes the end of the command's context send a signal first, so that
// Python can clean up, and kill only after stopGrace.
func stopWith(cmd *exec.Cmd, sig syscall.Signal) {
	cmd.Cancel = func() error { return cmd.Process.Signal(sig) }
	cmd.WaitDelay = stopGrace
}

// pythonOf resolves the interpreter that Pulumi.yaml or PulumiPolicy.yaml asks for.
func pythonOf(info *pulumirpc.ProgramInfo) (toolchain.Toolchain, error) {
	options := toolchain.PythonOptions{
		Root:       info.GetRootDirectory(),
		ProgramDir: info.GetProgramDirectory(),
		Toolchain:  toolchain.Pip,
	}
	for name, value := range info.GetOptions().AsMap() {
		text, isText := value.(string)
		if !isText {
			return nil, fmt.Errorf("runtime option %q must be a string", name)
		}
		switch name {
		case "virtualenv":
			options.Virtualenv = text
		case "toolchain":
			kinds := map[string]toolchain.PythonOptions{
				"pip": {Toolchain: toolchain.Pip}, "uv": {Toolchain: toolchain.Uv}, "poetry": {Toolchain: toolchain.Poetry},
			}
			kind, known := kinds[text]
			if !known {
				return nil, fmt.Errorf("runtime option toolchain is %q; use pip, uv or poetry", text)
			}
			options.Toolchain = kind.Toolchain
		default:
			return nil, fmt.Errorf("runtime option %q is not supported by this language host; remove it", name)
		}
	}
	return toolchain.ResolveToolchain(options)
}

// beside gives the path of a file that is installed next to this program.
func beside(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	if self, err = filepath.EvalSymlinks(self); err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("the language host is incomplete: %w; build it again", err)
	}
	return path, nil
}

// GetPluginInfo tells the version of this host.
func (h *host) GetPluginInfo(context.Context, *emptypb.Empty) (*pulumirpc.PluginInfo, error) {
	return &pulumirpc.PluginInfo{Version: version}, nil
}

// describePython prints what About tells; one start of Python, for the CLI asks before every operation.
const describePython = `import sys; print(sys.executable); print("%d.%d.%d" % sys.version_info[:3])`

// About describes the interpreter.
func (h *host) About(ctx context.Context, req *pulumirpc.AboutRequest) (*pulumirpc.AboutResponse, error) {
	python, err := pythonOf(req.GetInfo())
	if err != nil {
		return nil, err
	}
	cmd, err := python.Command(ctx, "-c", describePython)
	if err != nil {
		return nil, err
	}
	output, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("asking Python for its version: %w", err)
	}
	executable, number, _ := strings.Cut(strings.TrimSpace(string(output)), "\n")
	return &pulumirpc.AboutResponse{Executable: executable, Version: number}, nil
}

// InstallDependencies makes the virtual environment and installs requirements.txt into it.
func (h *host) InstallDependencies(
	req *pulumirpc.InstallDependenciesRequest, stream pulumirpc.LanguageRuntime_InstallDependenciesServer,
) error {
	ctx, done := h.operation(stream.Context())
	defer done()
	python, err := pythonOf(req.GetInfo())
	if err != nil {
		return err
	}
	closer, stdout, stderr, err := rpcutil.MakeInstallDependenciesStreams(stream, req.GetIsTerminal())
	if err != nil {
		return err
	}
	defer closer.Close()
	err = python.InstallDependencies(
		ctx, req.GetInfo().GetProgramDirectory(), req.GetUseLanguageVersionTools(), true, stdout, stderr)
	if err != nil {
		return err
	}
	return closer.Close()
}
