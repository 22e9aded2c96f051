"""Log-in and log-out."""

from __future__ import annotations

from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponseBase

from admin_ui.access import guarded
from scoring.services.guard_log_in import begin_log_in, log_in_succeeded


class ThrottledLoginView(LoginView):
    """Django's log-in, with a limit on attempts; above it the password is not even looked at."""

    template_name = "admin_ui/login.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        verdict = begin_log_in(*_who(request))
        if verdict.allowed:
            return super().post(request, *args, **kwargs)
        headers = verdict.headers()
        # Unbound: a form with data would check the password when the template asks for its errors.
        form = AuthenticationForm(request)
        context = self.get_context_data(form=form, wait_seconds=headers["Retry-After"])
        response = self.render_to_response(context, status=429)
        response["Retry-After"] = headers["Retry-After"]
        return response

    def form_valid(self, form: AuthenticationForm) -> HttpResponseBase:
        log_in_succeeded(*_who(self.request))
        return super().form_valid(form)


def _who(request: HttpRequest) -> tuple[str, str]:
    return request.POST.get("username", ""), request.META.get("REMOTE_ADDR", "")


log_in = guarded(ThrottledLoginView.as_view())
log_out = guarded(LogoutView.as_view())
