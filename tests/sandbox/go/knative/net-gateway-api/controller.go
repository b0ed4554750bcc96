// Copyright (c) 2026, llmstack contributors
// GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
// SPDX-License-Identifier: GPL-3.0-or-later

package main

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/dynamic"
	corev1listers "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"knative.dev/networking/pkg/apis/networking"
	"knative.dev/networking/pkg/apis/networking/v1alpha1"
	ingressinformer "knative.dev/networking/pkg/client/injection/informers/networking/v1alpha1/ingress"
	ingressreconciler "knative.dev/networking/pkg/client/injection/reconciler/networking/v1alpha1/ingress"
	"knative.dev/networking/pkg/ingress"
	"knative.dev/networking/pkg/status"
	endpointsinformer "knative.dev/pkg/client/injection/kube/informers/core/v1/endpoints"
	"knative.dev/pkg/configmap"
	"knative.dev/pkg/controller"
	"knative.dev/pkg/injection"
	"knative.dev/pkg/logging"
	"knative.dev/pkg/network"
	pkgreconciler "knative.dev/pkg/reconciler"
	"knative.dev/pkg/system"
)

const (
	className    = "gateway-api.ingress.networking.knative.dev"
	fieldManager = "net-gateway-api"
)

var httpRoutes = schema.GroupVersionResource{Group: "gateway.networking.k8s.io", Version: "v1", Resource: "httproutes"}

// reconciler makes an HTTPRoute of each rule of a Knative Ingress, and calls the Ingress ready when the Gateway has taken
// the routes and every one of its proxies answers a probe with what this Ingress says.
type reconciler struct {
	routes    dynamic.NamespaceableResourceInterface
	endpoints corev1listers.EndpointsLister
	prober    status.Manager
	gateways  atomic.Pointer[gateways]
}

func newController(ctx context.Context, watcher configmap.Watcher) *controller.Impl {
	logger := logging.FromContext(ctx)
	ingresses := ingressinformer.Get(ctx).Informer()
	r := &reconciler{
		routes:    dynamic.NewForConfigOrDie(injection.GetConfig(ctx)).Resource(httpRoutes),
		endpoints: endpointsinformer.Get(ctx).Lister(),
	}
	ofClass := pkgreconciler.AnnotationFilterFunc(networking.IngressClassAnnotationKey, className, false)
	impl := ingressreconciler.NewImpl(ctx, r, className, func(*controller.Impl) controller.Options {
		return controller.Options{PromoteFilterFunc: ofClass}
	})
	watcher.Watch(configName, func(config *corev1.ConfigMap) {
		parsed, err := parseGateways(config)
		if err != nil {
			logger.Errorw("The Gateways stay as they were: "+configName+" cannot be read", "error", err)
			return
		}
		r.gateways.Store(parsed)
		impl.GlobalResync(ingresses)
	})
	prober := status.NewProber(logger, r, func(ing *v1alpha1.Ingress) { impl.Enqueue(ing) })
	r.prober = prober
	prober.Start(ctx.Done())
	ingresses.AddEventHandler(cache.FilteringResourceEventHandler{
		FilterFunc: ofClass, Handler: controller.HandleAll(impl.Enqueue),
	})
	ingresses.AddEventHandler(cache.ResourceEventHandlerFuncs{DeleteFunc: prober.CancelIngressProbing})
	return impl
}

// ReconcileKind implements ingressreconciler.Interface.
func (r *reconciler) ReconcileKind(ctx context.Context, ing *v1alpha1.Ingress) pkgreconciler.Event {
	ways := r.gateways.Load()
	if ways == nil {
		return fmt.Errorf("ConfigMap %s/%s says no Gateways", system.Namespace(), configName)
	}
	ing.SetDefaults(ctx)
	ing.Status.InitializeConditions()
	probed := ing.DeepCopy()
	if _, err := ingress.InsertProbe(probed); err != nil {
		return err
	}
	accepted, names := true, sets.New[string]()
	for _, rule := range probed.Spec.Rules {
		route := routeOf(probed, rule, ways)
		applied, err := r.routes.Namespace(ing.Namespace).Apply(
			ctx, route.GetName(), route, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
		if err != nil {
			return fmt.Errorf("HTTPRoute %s: %w", route.GetName(), err)
		}
		names.Insert(route.GetName())
		accepted = accepted && isAccepted(applied)
	}
	if err := r.removeOthers(ctx, ing, names); err != nil {
		return err
	}
	if !accepted {
		ing.Status.MarkIngressNotReady("HTTPRouteNotReady", "Waiting for HTTPRoute becomes Ready.")
		return controller.NewRequeueAfter(time.Second)
	}
	ing.Status.MarkNetworkConfigured()
	ready, err := r.prober.IsReady(ctx, ing)
	if err != nil {
		ing.Status.MarkLoadBalancerNotReady()
		return err
	}
	if !ready {
		ing.Status.MarkLoadBalancerNotReady()
		return nil
	}
	ing.Status.MarkLoadBalancerReady(addresses(ways.external), addresses(ways.local))
	return nil
}

func (r *reconciler) removeOthers(ctx context.Context, ing *v1alpha1.Ingress, names sets.Set[string]) error {
	own := r.routes.Namespace(ing.Namespace)
	found, err := own.List(ctx, metav1.ListOptions{LabelSelector: networking.IngressLabelKey + "=" + ing.Name})
	if err != nil {
		return err
	}
	for _, route := range found.Items {
		if names.Has(route.GetName()) {
			continue
		}
		if err := own.Delete(ctx, route.GetName(), metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return err
		}
	}
	return nil
}

// ListProbeTargets implements status.ProbeTargetLister: all proxies of the Gateways that the rules of an Ingress use.
func (r *reconciler) ListProbeTargets(_ context.Context, ing *v1alpha1.Ingress) ([]status.ProbeTarget, error) {
	ways := r.gateways.Load()
	targets := []status.ProbeTarget{}
	for _, rule := range ing.Spec.Rules {
		service := ways.of(rule).service
		endpoints, err := r.endpoints.Endpoints(service.Namespace).Get(service.Name)
		if err != nil {
			return nil, err
		}
		urls := []*url.URL{}
		for _, host := range rule.Hosts {
			urls = append(urls, &url.URL{Scheme: "http", Host: host})
		}
		for _, subset := range endpoints.Subsets {
			target := status.ProbeTarget{PodIPs: sets.New[string](), Port: "80", URLs: urls}
			for _, port := range subset.Ports {
				if port.Name == "http" {
					target.PodPort = strconv.Itoa(int(port.Port))
				}
			}
			for _, address := range subset.Addresses {
				target.PodIPs.Insert(address.IP)
			}
			if target.PodPort != "" && len(target.PodIPs) > 0 {
				targets = append(targets, target)
			}
		}
	}
	if len(targets) == 0 {
		return nil, fmt.Errorf("no proxy of the Gateways of Ingress %s/%s is ready", ing.Namespace, ing.Name)
	}
	return targets, nil
}

func (g *gateways) of(rule v1alpha1.IngressRule) gateway {
	if rule.Visibility == v1alpha1.IngressVisibilityClusterLocal {
		return g.local
	}
	return g.external
}

func addresses(way gateway) []v1alpha1.LoadBalancerIngressStatus {
	host := network.GetServiceHostname(way.service.Name, way.service.Namespace)
	return []v1alpha1.LoadBalancerIngressStatus{{DomainInternal: host}}
}

func routeOf(ing *v1alpha1.Ingress, rule v1alpha1.IngressRule, ways *gateways) *unstructured.Unstructured {
	way := ways.of(rule).name
	name := ""
	hosts := []any{}
	for _, host := range rule.Hosts {
		hosts = append(hosts, host)
		if len(host) > len(name) {
			name = host
		}
	}
	rules := []any{}
	for _, path := range rule.HTTP.Paths {
		rules = append(rules, ruleOf(path))
	}
	owner := metav1.NewControllerRef(ing, v1alpha1.SchemeGroupVersion.WithKind("Ingress"))
	route := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": httpRoutes.GroupVersion().String(),
		"kind":       "HTTPRoute",
		"spec": map[string]any{
			"hostnames":  hosts,
			"parentRefs": []any{map[string]any{"namespace": way.Namespace, "name": way.Name}},
			"rules":      rules,
		},
	}}
	route.SetNamespace(ing.Namespace)
	route.SetName(name)
	route.SetLabels(map[string]string{networking.IngressLabelKey: ing.Name})
	route.SetOwnerReferences([]metav1.OwnerReference{*owner})
	return route
}

func ruleOf(path v1alpha1.HTTPIngressPath) map[string]any {
	prefix := path.Path
	if prefix == "" {
		prefix = "/"
	}
	headers := []any{}
	for _, name := range sets.List(sets.KeySet(path.Headers)) {
		headers = append(headers, map[string]any{"name": name, "value": path.Headers[name].Exact})
	}
	backends := []any{}
	for _, split := range path.Splits {
		backends = append(backends, map[string]any{
			"name":    split.ServiceName,
			"port":    int64(split.ServicePort.IntValue()),
			"weight":  int64(split.Percent),
			"filters": setting(split.AppendHeaders),
		})
	}
	filters := setting(path.AppendHeaders)
	if path.RewriteHost != "" {
		rewrite := map[string]any{"hostname": path.RewriteHost}
		filters = append(filters, map[string]any{"type": "URLRewrite", "urlRewrite": rewrite})
	}
	match := map[string]any{"path": map[string]any{"type": "PathPrefix", "value": prefix}, "headers": headers}
	return map[string]any{
		"matches":     []any{match},
		"filters":     filters,
		"backendRefs": backends,
		// Without a limit of its own: the queue proxy has one.
		"timeouts": map[string]any{"request": "0s"},
	}
}

// setting is the filter that sets these headers of a request, if there are any.
func setting(headers map[string]string) []any {
	if len(headers) == 0 {
		return []any{}
	}
	set := []any{}
	for _, name := range sets.List(sets.KeySet(headers)) {
		set = append(set, map[string]any{"name": name, "value": headers[name]})
	}
	modifier := map[string]any{"set": set}
	return []any{map[string]any{"type": "RequestHeaderModifier", "requestHeaderModifier": modifier}}
}

// isAccepted says whether every Gateway of a route has taken this state of it.
func isAccepted(route *unstructured.Unstructured) bool {
	parents, _, _ := unstructured.NestedSlice(route.Object, "status", "parents")
	for _, parent := range parents {
		conditions, _, _ := unstructured.NestedSlice(parent.(map[string]any), "conditions")
		met := sets.New[string]()
		for _, each := range conditions {
			condition := each.(map[string]any)
			if condition["status"] == "True" && condition["observedGeneration"] == route.GetGeneration() {
				met.Insert(condition["type"].(string))
			}
		}
		if !met.HasAll("Accepted", "ResolvedRefs") {
			return false
		}
	}
	return len(parents) > 0
}
