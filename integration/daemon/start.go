package daemon

import "runtime"

// start runs the process and waits for it, both on one thread that lives as long
// as the process: the kernel delivers the parent-death signal when the thread
// that started a process ends, not when its process does.
func (d *Daemon) start() error {
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := d.cmd.Start()
		started <- err
		if err == nil {
			_ = d.cmd.Wait() // Stop signals it, so its status says nothing
			close(d.done)
		}
	}()
	return <-started
}
