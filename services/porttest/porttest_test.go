package porttest

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// holderVariable has the test program be another process, which reserves the port and says whether it got it.
const holderVariable = "SLIPWAY_TEST_PORT"

func TestMain(m *testing.M) {
	var port int
	if _, err := fmt.Sscan(os.Getenv(holderVariable), &port); err != nil {
		os.Exit(m.Run())
	}
	mine, err := ports.reserve(port)
	fmt.Println(mine, err)
	_, _ = io.Copy(io.Discard, os.Stdin) // until the test is done with it
}

// other starts a process that reserves the port, and tells whether it got it. end ends it.
func other(t *testing.T, port string) (mine bool, end func()) {
	t.Helper()
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), holderVariable+"="+port)
	in, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	var said string
	if _, err := fmt.Fscan(out, &mine, &said); err != nil || said != "<nil>" {
		t.Fatalf("the other process says %t %q, %v", mine, said, err)
	}
	return mine, func() { in.Close(); _ = command.Wait() }
}

func TestAPortIsOneTestsUntilItEndsWhateverItsProcess(t *testing.T) {
	t.Parallel()
	var port string
	t.Run("one", func(t *testing.T) {
		port = Port(t)
		mine, end := other(t, port)
		end()
		if mine {
			t.Error("two processes have the port")
		}
		var number int
		fmt.Sscan(port, &number)
		if mine, err := ports.reserve(number); mine || err != nil {
			t.Errorf("two tests have the port: %t, %v", mine, err)
		}
	})
	mine, end := other(t, port)
	defer end()
	if !mine {
		t.Error("after its test the port is still held")
	}
}
