{{/* Short name: of the chart unless overridden. */}}
{{- define "loadtest-operator.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* Name of all objects: the release's and the chart's, or the one that has the other in it:
release "loadtest" makes "loadtest-operator". 50 characters leave room for "-ca". */}}
{{- define "loadtest-operator.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if hasPrefix (printf "%s-" .Release.Name) (include "loadtest-operator.name" .) }}
{{- include "loadtest-operator.name" . }}
{{- else if contains (include "loadtest-operator.name" .) .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "loadtest-operator.name" .) | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "loadtest-operator.serviceAccountName" -}}
{{- default (include "loadtest-operator.fullname" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "loadtest-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "loadtest-operator.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- define "loadtest-operator.labels" -}}
{{ include "loadtest-operator.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/component: operator
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{/* An image with its tag: list of the image's values and the root. */}}
{{- define "loadtest-operator.image" -}}
{{- $image := index . 0 -}}
{{- $root := index . 1 -}}
{{ $image.repository }}:{{ default $root.Chart.AppVersion $image.tag }}
{{- end }}

{{/* What the operator may do with the objects of tests. No Secrets: credentials are mounted into
runner pods by the kubelet, and the operator never sees them. */}}
{{- define "loadtest-operator.rules" -}}
- apiGroups: [loadtest.dev]
  resources: [loadtests]
  verbs: [list, watch, patch]
- apiGroups: [loadtest.dev]
  resources: [loadtestruns]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [loadtest.dev]
  resources: [loadtests/status, loadtestruns/status]
  verbs: [patch]
- apiGroups: [batch]
  resources: [jobs]
  verbs: [get, create, patch, delete]
# Created as a dry run only, to learn at once what a Job would tell in events.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch, create]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
# What keeps a pod from starting is told in its events only, such as a missing Secret.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
{{- end }}

{{/* Resources as JSON with every quantity a text: `cpu: 1` is a number in YAML. */}}
{{- define "loadtest-operator.resources" -}}
{{- $out := dict -}}
{{- range $kind, $quantities := . -}}
{{- $texts := dict -}}
{{- range $name, $quantity := $quantities -}}
{{- $_ := set $texts $name (toString $quantity) -}}
{{- end -}}
{{- $_ := set $out $kind $texts -}}
{{- end -}}
{{- toJson $out -}}
{{- end }}

{{/* The operator's configuration file; empty when nothing is set. Numbers of values files are
floating-point ones to Helm. */}}
{{- define "loadtest-operator.config" -}}
{{- $out := dict -}}
{{- with .Values.guardRails -}}
{{- with int .maxConcurrentRuns -}}
{{- $_ := set $out "maxConcurrentRuns" . -}}
{{- end -}}
{{- with .limits -}}
{{- $_ := set $out "limits" (fromYaml (include "loadtest-operator.limits" .)) -}}
{{- end -}}
{{- range $name, $limits := .namespaces -}}
{{- $all := default dict $out.namespaces -}}
{{- $_ := set $all $name (fromYaml (include "loadtest-operator.limits" $limits)) -}}
{{- $_ := set $out "namespaces" $all -}}
{{- end -}}
{{- end -}}
{{- with .Values.resultProfiles -}}
{{- $_ := set $out "resultProfiles" . -}}
{{- end -}}
{{- if $out -}}
{{- toJson $out -}}
{{- end -}}
{{- end }}

{{/* Limits with numbers as whole ones: a million would be 1e+06. */}}
{{- define "loadtest-operator.limits" -}}
{{- $out := dict -}}
{{- range $name, $value := . -}}
{{- if has $name (list "maxUsers" "maxRunners" "maxConcurrentRuns") -}}
{{- $_ := set $out $name (int $value) -}}
{{- else -}}
{{- $_ := set $out $name $value -}}
{{- end -}}
{{- end -}}
{{- toJson $out -}}
{{- end }}
