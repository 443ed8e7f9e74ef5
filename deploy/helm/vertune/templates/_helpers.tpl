{{- define "vertune.fullname" -}}
{{- if contains .Chart.Name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "vertune.selector" -}}
app.kubernetes.io/name: {{ .name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
{{- end }}

{{- define "vertune.labels" -}}
{{ include "vertune.selector" . }}
app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "vertune.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{- define "vertune.claim" -}}
{{ .Values.home.existingClaim | default (printf "%s-home" (include "vertune.fullname" .)) }}
{{- end }}

{{- define "vertune.serviceAccount" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "vertune.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* the fields that the pods of servers and backups have in common */}}
{{- define "vertune.pod" -}}
automountServiceAccountToken: false
{{- with include "vertune.serviceAccount" . }}
serviceAccountName: {{ . }}
{{- end }}
{{- with .Values.image.pullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{- define "vertune.container" -}}
image: {{ include "vertune.image" . | quote }}
{{- with .Values.image.pullPolicy }}
imagePullPolicy: {{ . }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end }}

{{- define "vertune.database" -}}
{{- if .Values.database.secret }}
- name: VERTUNE_DATABASE
  valueFrom: {secretKeyRef: {name: {{ .Values.database.secret }}, key: {{ .Values.database.key }}}}
{{- end }}
{{- end }}

{{- define "vertune.egress" -}}
{{- if .Values.database.secret }}
- ports: [{port: {{ .Values.networkPolicy.databasePort }}}]
{{- end }}
- ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]
{{- with .Values.networkPolicy.egress }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* JSON writes large numbers without an exponent, which the server would not read as whole numbers */}}
{{- define "vertune.setting" -}}
{{- if kindIs "string" .value }}
{{- printf "%s=%s" .name .value | quote }}
{{- else }}
{{- printf "%s=%s" .name (toJson .value) | quote }}
{{- end }}
{{- end }}

{{- define "vertune.settings" -}}
{{- range $name, $value := .Values.settings }}
{{- if kindIs "map" $value }}
{{- range $inner, $setting := $value }}
- --set
- {{ include "vertune.setting" (dict "name" (printf "%s.%s" $name $inner) "value" $setting) }}
{{- end }}
{{- else }}
- --set
- {{ include "vertune.setting" (dict "name" $name "value" $value) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* servers with one SQLite file, or with a volume that one node mounts, must not run beside one another */}}
{{- define "vertune.single" -}}
{{- if or (not .Values.database.secret) (not (has "ReadWriteMany" .Values.home.accessModes)) }}true{{ end }}
{{- end }}

{{- define "vertune.several" -}}
{{- if .Values.autoscaling.enabled }}
{{- if gt (int .Values.autoscaling.minReplicas) 1 }}true{{ end }}
{{- else if gt (int .Values.replicas) 1 }}true{{ end }}
{{- end }}

{{- define "vertune.check" -}}
{{- if and (not .Values.database.secret) (or .Values.autoscaling.enabled (gt (int .Values.replicas) 1)) }}
{{- fail (print "database.secret is empty, but several servers can't share SQLite. Name a secret with the URL of a PostgreSQL database, "
      "or set autoscaling.enabled=false and replicas=1.") }}
{{- end }}
{{- end }}
