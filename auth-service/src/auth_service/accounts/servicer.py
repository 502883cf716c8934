"""AuthService over gRPC."""

from uuid import UUID

from adplatform.auth.v1 import auth_pb2 as pb
from google.api.httpbody_pb2 import HttpBody

from adlib.clock import timestamp
from adlib.rpc import Call
from auth_service.accounts.service import AccountService
from auth_service.emails.service import EmailService
from auth_service.passwords.service import PasswordResetRequests, PasswordService
from auth_service.sessions.model import Client, LiveSession
from auth_service.sessions.service import SessionService
from auth_service.signup.model import SignUp
from auth_service.signup.service import SignUpService
from auth_service.tenancy.model import Membership, Organization
from auth_service.users.model import User
from auth_service.verification.service import EmailVerification


class AuthServicer:
    """AuthService of the contract."""

    contract = pb.DESCRIPTOR.services_by_name["AuthService"]

    def __init__(
        self,
        sign_up: SignUpService,
        accounts: AccountService,
        reset_requests: PasswordResetRequests,
        passwords: PasswordService,
        emails: EmailService,
        verification: EmailVerification,
        sessions: SessionService,
    ) -> None:
        self._sign_up = sign_up
        self._accounts = accounts
        self._reset_requests = reset_requests
        self._passwords = passwords
        self._emails = emails
        self._verification = verification
        self._sessions = sessions

    def SignUp(self, request: pb.SignUpRequest, call: Call) -> pb.SignUpResponse:
        kind = request.organization_kind or pb.Organization.ADVERTISER
        sign_up = SignUp(
            name=request.name,
            email=request.email,
            password=request.password,
            firebase_id_token=request.firebase_id_token,
            organization_name=request.organization_name,
            kind=pb.Organization.Kind.Name(kind),
            invitation_token=request.invitation_token,
        )
        user, organization, tokens = self._sign_up.sign_up(sign_up, _client(call))
        call.attribute_to(user.id, organization.id)
        return pb.SignUpResponse(
            user=_user(user),
            organization=_organization(organization),
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires_in=tokens.expires_in_s,
        )

    def LogIn(self, request: pb.LogInRequest, call: Call) -> pb.LogInResponse:
        if request.firebase_id_token:
            user, tokens = self._accounts.sign_in_with_firebase(request.firebase_id_token, _client(call))
        else:
            call.is_rate_limited = True
            user, tokens = self._accounts.sign_in(request.email, request.password, _client(call))
        call.attribute_to(user.id)
        return pb.LogInResponse(
            user=_user(user),
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires_in=tokens.expires_in_s,
        )

    def RefreshToken(self, request: pb.RefreshTokenRequest, call: Call) -> pb.RefreshTokenResponse:
        tokens = self._sessions.refresh(request.refresh_token)
        call.attribute_to(tokens.user_id)
        return pb.RefreshTokenResponse(
            access_token=tokens.access_token, refresh_token=tokens.refresh_token, expires_in=tokens.expires_in_s
        )

    def LogOut(self, _request: pb.LogOutRequest, call: Call) -> pb.LogOutResponse:
        self._sessions.end(call.caller.session_id)
        return pb.LogOutResponse()

    def GetProfile(self, _request: pb.GetProfileRequest, call: Call) -> pb.Profile:
        user, memberships = self._accounts.profile(call.caller.user_id)
        return pb.Profile(user=_user(user), memberships=[_membership(one) for one in memberships])

    def UpdateProfile(self, request: pb.UpdateProfileRequest, call: Call) -> pb.Profile:
        user, memberships = self._accounts.rename(call.caller.user_id, request.name)
        return pb.Profile(user=_user(user), memberships=[_membership(one) for one in memberships])

    def ListSessions(self, _request: pb.ListSessionsRequest, call: Call) -> pb.ListSessionsResponse:
        sessions = self._sessions.list_live(call.caller.user_id)
        return pb.ListSessionsResponse(sessions=[_session(one, call.caller.session_id) for one in sessions])

    def RevokeSession(self, request: pb.RevokeSessionRequest, call: Call) -> pb.RevokeSessionResponse:
        self._sessions.revoke(call.caller.user_id, UUID(request.session_id))
        return pb.RevokeSessionResponse()

    def SendEmailVerification(
        self, _request: pb.SendEmailVerificationRequest, call: Call
    ) -> pb.SendEmailVerificationResponse:
        self._emails.resend_verification(call.caller.user_id, call.address)
        return pb.SendEmailVerificationResponse()

    def VerifyEmail(self, request: pb.VerifyEmailRequest, call: Call) -> pb.VerifyEmailResponse:
        verified = self._verification.verify(request.token, call.session())
        call.attribute_to(verified.user.id)
        return pb.VerifyEmailResponse(user=_user(verified.user), password_reset_token=verified.password_reset_token)

    def ForgotPassword(self, request: pb.ForgotPasswordRequest, call: Call) -> pb.ForgotPasswordResponse:
        self._reset_requests.request(request.email, call.address)
        return pb.ForgotPasswordResponse()

    def ResetPassword(self, request: pb.ResetPasswordRequest, call: Call) -> pb.ResetPasswordResponse:
        call.attribute_to(self._passwords.reset(request.token, request.password))
        return pb.ResetPasswordResponse()

    def ChangePassword(self, request: pb.ChangePasswordRequest, call: Call) -> pb.ChangePasswordResponse:
        caller = call.caller
        self._passwords.change(
            caller.user_id, caller.session_id, request.current_password, request.new_password, call.address
        )
        return pb.ChangePasswordResponse()

    def ChangeEmail(self, request: pb.ChangeEmailRequest, call: Call) -> pb.ChangeEmailResponse:
        self._emails.request_change(call.caller.user_id, request.new_email, request.password, call.address)
        return pb.ChangeEmailResponse()

    def ConfirmEmailChange(self, request: pb.ConfirmEmailChangeRequest, call: Call) -> pb.ConfirmEmailChangeResponse:
        verified = self._verification.confirm_change(request.token, call.session())
        call.attribute_to(verified.user.id)
        return pb.ConfirmEmailChangeResponse(
            user=_user(verified.user), password_reset_token=verified.password_reset_token
        )

    def GetJwks(self, _request: pb.GetJwksRequest, _call: Call) -> HttpBody:
        return HttpBody(content_type="application/json", data=self._sessions.jwks().encode())


def _client(call: Call) -> Client:
    return Client(call.address, call.user_agent)


def _user(user: User) -> pb.User:
    return pb.User(id=str(user.id), email=user.email, name=user.name, email_verified=user.email_verified)


def _organization(organization: Organization) -> pb.Organization:
    kind = pb.Organization.Kind.Value(organization.kind)
    return pb.Organization(id=str(organization.id), name=organization.name, kind=kind)


def _membership(membership: Membership) -> pb.Membership:
    return pb.Membership(
        organization_id=str(membership.organization.id),
        organization_name=membership.organization.name,
        organization_kind=pb.Organization.Kind.Value(membership.organization.kind),
        role=membership.role,
        permissions=membership.permissions,
    )


def _session(session: LiveSession, current: UUID) -> pb.Session:
    return pb.Session(
        id=str(session.id),
        current=session.id == current,
        create_time=timestamp(session.created_at),
        refresh_time=timestamp(session.refreshed_at),
        address=session.client.address,
        user_agent=session.client.user_agent,
    )
