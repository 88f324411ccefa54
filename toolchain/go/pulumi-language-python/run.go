package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"

	pulumirpc "github.com/pulumi/pulumi/sdk/v3/proto/go"
	"github.com/pulumi/pulumi/sdk/v3/python/toolchain"
)

const (
	// errorShown is the exit code by which the program says that the user has seen its error.
	errorShown = 32
	launcher   = "pulumi-language-python-launch.py"
	execShim   = "pulumi-language-python-exec"
)

// Run executes a Pulumi program. A failing program is no error of this call: the
// response says what to print, or, with bail, that all is printed.
func (h *host) Run(ctx context.Context, req *pulumirpc.RunRequest) (*pulumirpc.RunResponse, error) {
	ctx, done := h.operation(ctx)
	defer done()
	python, err := pythonOf(req.GetInfo())
	if err != nil {
		return nil, err
	}
	if err := python.ValidateVenv(ctx); err != nil {
		return &pulumirpc.RunResponse{Error: err.Error()}, nil
	}
	args, err := programArguments(req, h.engineAddress())
	if err != nil {
		return nil, err
	}
	cmd, err := python.Command(ctx, args...)
	if err != nil {
		return nil, err
	}
	config, err := configEnvironment(req)
	if err != nil {
		return nil, err
	}
	if cmd.Env == nil {
		cmd.Env = os.Environ()
	}
	cmd.Env = append(cmd.Env, config...)
	cmd.Dir = req.GetPwd()
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	stopWith(cmd, syscall.SIGINT)

	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return &pulumirpc.RunResponse{}, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("the Python program was interrupted: %w", ctx.Err())
	case errors.As(err, &exit) && exit.ExitCode() == errorShown:
		return &pulumirpc.RunResponse{Bail: true}, nil
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return &pulumirpc.RunResponse{
			Error: fmt.Sprintf("the Python program ended with exit code %d", exit.ExitCode()),
		}, nil
	default:
		return &pulumirpc.RunResponse{Error: fmt.Sprintf("the Python program ended abnormally: %v", err)}, nil
	}
}

// programArguments is the command line of the exec shim (-u: the engine reads the output line by line).
func programArguments(req *pulumirpc.RunRequest, engine string) ([]string, error) {
	launch, err := beside(launcher)
	if err != nil {
		return nil, err
	}
	shim, err := beside(execShim)
	if err != nil {
		return nil, err
	}
	args := []string{"-u", launch, shim}
	for _, option := range [][2]string{
		{"--monitor", req.GetMonitorAddress()},
		{"--engine", engine},
		{"--project", req.GetProject()},
		{"--root_directory", req.GetInfo().GetRootDirectory()},
		{"--stack", req.GetStack()},
		{"--pwd", req.GetPwd()},
		{"--organization", req.GetOrganization()},
		{"--dry_run", strconv.FormatBool(req.GetDryRun())},
		{"--parallel", strconv.Itoa(int(req.GetParallel()))},
	} {
		if option[1] != "" {
			args = append(args, option[0], option[1])
		}
	}
	// "--" keeps arguments of the program that begin with a dash from the shim.
	args = append(args, "--", filepath.Join(req.GetInfo().GetProgramDirectory(), req.GetInfo().GetEntryPoint()))
	return append(args, req.GetArgs()...), nil
}

// configEnvironment hands the stack configuration to the SDK the way it reads it.
func configEnvironment(req *pulumirpc.RunRequest) ([]string, error) {
	values := req.GetConfig()
	if values == nil {
		values = map[string]string{} // the SDK expects an object
	}
	config, err := json.Marshal(values)
	if err != nil {
		return nil, err
	}
	secretKeys, err := json.Marshal(append([]string{}, req.GetConfigSecretKeys()...))
	if err != nil {
		return nil, err
	}
	return []string{"PULUMI_CONFIG=" + string(config), "PULUMI_CONFIG_SECRET_KEYS=" + string(secretKeys)}, nil
}

// RunPlugin executes a plugin that is written in Python. A policy pack is run by
// the SDK's module for it, from the directory of the pack.
func (h *host) RunPlugin(req *pulumirpc.RunPluginRequest, stream pulumirpc.LanguageRuntime_RunPluginServer) error {
	ctx, done := h.operation(stream.Context())
	defer done()
	info := req.GetInfo()
	python, err := pythonOf(info)
	if err != nil {
		return err
	}
	if err := python.ValidateVenv(ctx); err != nil {
		return err
	}
	program := filepath.Join(info.GetProgramDirectory(), info.GetEntryPoint())
	args, dir := append([]string{"-u", program}, req.GetArgs()...), req.GetPwd()
	if req.GetKind() == "analyzer" {
		args, dir = append(append([]string{"-u", "-m", "pulumi.policy"}, req.GetArgs()...), program), program
	}
	cmd, err := python.Command(ctx, args...)
	if err != nil {
		return err
	}
	cmd.Dir, cmd.Env = dir, req.GetEnv()
	if venv, err := python.VirtualEnvPath(ctx); err == nil && venv != "" {
		cmd.Env = toolchain.ActivateVirtualEnv(req.GetEnv(), venv)
	}
	stopWith(cmd, syscall.SIGTERM)

	var lock sync.Mutex // a gRPC stream takes one sender at a time
	send := func(response *pulumirpc.RunPluginResponse) error {
		lock.Lock()
		defer lock.Unlock()
		return stream.Send(response)
	}
	cmd.Stdout = sender(func(b []byte) error {
		return send(&pulumirpc.RunPluginResponse{Output: &pulumirpc.RunPluginResponse_Stdout{Stdout: b}})
	})
	cmd.Stderr = sender(func(b []byte) error {
		return send(&pulumirpc.RunPluginResponse{Output: &pulumirpc.RunPluginResponse_Stderr{Stderr: b}})
	})

	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	code := int32(cmd.ProcessState.ExitCode())
	return send(&pulumirpc.RunPluginResponse{Output: &pulumirpc.RunPluginResponse_Exitcode{Exitcode: code}})
}

// sender is a writer that hands each chunk to a function.
type sender func([]byte) error

func (s sender) Write(p []byte) (int, error) {
	if err := s(p); err != nil {
		return 0, err
	}
	return len(p), nil
}
