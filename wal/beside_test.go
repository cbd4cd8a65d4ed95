package wal

import (
	"cmp"
	"errors"
	"math/rand/v2"
	"sync"
	"testing"

	"etcd2/wal/disk/disktest"
)

// beside appends n batches in one goroutine, while another one releases old segments. It returns
// the first error of each.
func (p *process) beside(n int) (appended, released error) {
	var appends sync.WaitGroup
	appends.Go(func() { appended = p.append(n) })
	ended := make(chan struct{})
	go func() { appends.Wait(); close(ended) }()
	for released == nil {
		select {
		case <-ended:
			return appended, nil
		default:
			released = p.release(12, 0)
		}
	}
	<-ended
	return appended, released
}

// Whenever the machine crashes during a Release and an Append, all that was acknowledged is there.
//
// pitfall H1
func TestEveryCrashStateOpensWhileReleaseRunsBesideAppend(t *testing.T) {
	states, calls := 0, 0
	for seed := uint64(1); states < crashStates/(40*stride()); seed++ {
		rng := rand.New(rand.NewPCG(seed, 1))
		d, m := disktest.New(), &model{}
		p := &process{d: d, m: m}
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
		var failure error
		d.After = func(d *disktest.Disk, call, name string) {
			if calls++; failure != nil || calls%3 != 0 {
				return
			}
			n, err := tryStates(d, m, rng, 5)
			states, failure = states+n, err
		}

		appended, released := p.beside(60)

		d.After = nil
		if err := cmp.Or(appended, released, failure, p.log.Close(), tidy(d, m)); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	t.Logf("%d crash states", states)
}

// pitfall H8
func TestTheFirstErrorIsFinalForReleaseBesideAppendToo(t *testing.T) {
	for n := 1; n < 120; n += stride() {
		d, m := disktest.New(), &model{}
		p := &process{d: d, m: m}
		if err := p.start(); err != nil {
			t.Fatal(err)
		}
		d.Fault = disktest.FailAt(d.Calls + n)

		appended, released := p.beside(60)

		if err := cmp.Or(appended, released); !errors.Is(err, disktest.ErrInjected) {
			continue // the call that failed was the spare's, which nobody needed
		}
		if err := p.dead(); err != nil {
			t.Errorf("call %d fails: %v", n, err)
		}
	}
}
