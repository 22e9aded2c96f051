"""Log-in and log-out."""

from __future__ import annotations

from django.contrib.auth.views import LoginView, LogoutView

from admin_ui.access import guarded

log_in = guarded(LoginView.as_view(template_name="admin_ui/login.html", redirect_authenticated_user=True))
log_out = guarded(LogoutView.as_view())
