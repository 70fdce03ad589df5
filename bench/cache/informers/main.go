// SPDX-License-Identifier: Apache-2.0

// Program informers holds pods as N operators in one process would: N client-go informers, each with a client and a store
// of its own. It says "synced" on stdout and holds them until its stdin ends.
package main

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"time"

	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

func main() {
	count, err := strconv.Atoi(os.Args[1])
	if err != nil {
		panic(err)
	}
	stop := make(chan struct{})
	var all []cache.SharedIndexInformer
	for range count {
		config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
		if err != nil {
			panic(err)
		}
		informer := informers.NewSharedInformerFactory(kubernetes.NewForConfigOrDie(config), 0).Core().V1().Pods().Informer()
		go informer.Run(stop)
		all = append(all, informer)
		// One after the other: it is what they hold that is measured, not the API server under a herd.
		for !informer.HasSynced() {
			time.Sleep(10 * time.Millisecond)
		}
	}
	held := 0
	for _, informer := range all {
		held += len(informer.GetStore().ListKeys())
	}
	fmt.Println("synced", held)
	io.Copy(io.Discard, os.Stdin) //nolint:errcheck
	close(stop)
}
