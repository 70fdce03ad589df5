// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/tls"
	"flag"
	"os"
	"path/filepath"

	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // All ways to log in, for runs outside a cluster.
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	greeterv1 "go.greeter.dormouse.example/api/v1"
	"go.greeter.dormouse.example/internal/controller"
	// +kubebuilder:scaffold:imports
)

var (
	scheme   = runtime.NewScheme()
	setupLog = ctrl.Log.WithName("setup")
)

func init() {
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(greeterv1.AddToScheme(scheme))
	// +kubebuilder:scaffold:scheme
}

// certificate is where a server's certificate lies, if not self-made.
type certificate struct {
	dir, cert, key string
}

func (c *certificate) flags(server string) {
	flag.StringVar(&c.dir, server+"-cert-path", "", "The folder with the "+server+" server's certificate.")
	flag.StringVar(&c.cert, server+"-cert-name", "tls.crt", "The name of the "+server+" server's certificate file.")
	flag.StringVar(&c.key, server+"-cert-key", "tls.key", "The name of the "+server+" server's key file.")
}

func main() {
	var (
		metricsAddr, probeAddr     string
		metricsCert, webhookCert   certificate
		leaderElect, secureMetrics bool
		enableHTTP2                bool
	)
	flag.StringVar(&metricsAddr, "metrics-bind-address", "0", "Where metrics are served: :8443 for HTTPS, :8080 for HTTP, 0 for not at all.")
	flag.StringVar(&probeAddr, "health-probe-bind-address", ":8081", "Where the probes /healthz and /readyz are served.")
	flag.BoolVar(&leaderElect, "leader-elect", false, "Take part in leader election, so that one instance is active.")
	flag.BoolVar(&secureMetrics, "metrics-secure", true, "Serve metrics over HTTPS, to who is authorized.")
	flag.BoolVar(&enableHTTP2, "enable-http2", false, "Let the metrics and webhook servers speak HTTP/2.")
	metricsCert.flags("metrics")
	webhookCert.flags("webhook")
	opts := zap.Options{Development: true}
	opts.BindFlags(flag.CommandLine)
	flag.Parse()

	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&opts)))

	var tlsOpts []func(*tls.Config)
	if !enableHTTP2 {
		tlsOpts = append(tlsOpts, func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} })
	}

	webhookOptions := webhook.Options{TLSOpts: tlsOpts}
	if webhookCert.dir != "" {
		webhookOptions.CertDir = webhookCert.dir
		webhookOptions.CertName = webhookCert.cert
		webhookOptions.KeyName = webhookCert.key
	}

	metricsOptions := metricsserver.Options{
		BindAddress:   metricsAddr,
		SecureServing: secureMetrics,
		TLSOpts:       tlsOpts,
	}
	if secureMetrics {
		metricsOptions.FilterProvider = filters.WithAuthenticationAndAuthorization
	}
	if metricsCert.dir != "" {
		setupLog.Info("metrics certificate", "path", filepath.Join(metricsCert.dir, metricsCert.cert))
		metricsOptions.CertDir = metricsCert.dir
		metricsOptions.CertName = metricsCert.cert
		metricsOptions.KeyName = metricsCert.key
	}

	// All namespaces, unless WATCH_NAMESPACE names one.
	var cacheOptions cache.Options
	if one := os.Getenv("WATCH_NAMESPACE"); one != "" {
		cacheOptions.DefaultNamespaces = map[string]cache.Config{one: {}}
	}

	mgr, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		Scheme:                 scheme,
		Cache:                  cacheOptions,
		Metrics:                metricsOptions,
		WebhookServer:          webhook.NewServer(webhookOptions),
		HealthProbeBindAddress: probeAddr,
		LeaderElection:         leaderElect,
		LeaderElectionID:       "go-greeter.dormouse.example",
		// The program ends when the manager does, so another instance may take over at once.
		LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		setupLog.Error(err, "unable to make the manager")
		os.Exit(1)
	}

	if err := (&controller.GreetingReconciler{
		Client:   mgr.GetClient(),
		Scheme:   mgr.GetScheme(),
		Recorder: mgr.GetEventRecorder("greeting-controller"),
	}).SetupWithManager(mgr); err != nil {
		setupLog.Error(err, "unable to make the controller", "controller", "Greeting")
		os.Exit(1)
	}
	// +kubebuilder:scaffold:builder

	if err := mgr.AddHealthzCheck("healthz", healthz.Ping); err != nil {
		setupLog.Error(err, "unable to set up the health check")
		os.Exit(1)
	}
	if err := mgr.AddReadyzCheck("readyz", healthz.Ping); err != nil {
		setupLog.Error(err, "unable to set up the ready check")
		os.Exit(1)
	}

	setupLog.Info("starting manager")
	if err := mgr.Start(ctrl.SetupSignalHandler()); err != nil {
		setupLog.Error(err, "the manager failed")
		os.Exit(1)
	}
}
