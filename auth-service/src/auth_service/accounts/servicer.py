"""AuthService of the contract."""

from adplatform.auth.v1 import auth_pb2 as pb
from google.api.httpbody_pb2 import HttpBody

from adlib.errors import Unavailable
from adlib.rpc import Call
from auth_service.accounts.model import Membership, Organization, User
from auth_service.accounts.service import AccountService, NewAccount
from auth_service.sessions.service import SessionService


class AuthServicer:
    """Parses, calls, renders."""

    def __init__(self, accounts: AccountService, sessions: SessionService) -> None:
        self._accounts = accounts
        self._sessions = sessions

    def SignUp(self, request: pb.SignUpRequest, _call: Call) -> pb.SignUpResponse:
        kind = request.organization_kind or pb.Organization.ADVERTISER
        new = NewAccount(
            email=request.email,
            password=request.password,
            name=request.name,
            organization_name=request.organization_name,
            kind=pb.Organization.Kind.Name(kind),
        )
        user, organization, tokens = self._accounts.sign_up(new)
        return pb.SignUpResponse(
            user=_user(user),
            organization=_organization(organization),
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires_in=tokens.expires_in_s,
        )

    def LogIn(self, request: pb.LogInRequest, _call: Call) -> pb.LogInResponse:
        user, tokens = self._accounts.log_in(request.email, request.password)
        return pb.LogInResponse(
            user=_user(user),
            access_token=tokens.access_token,
            refresh_token=tokens.refresh_token,
            expires_in=tokens.expires_in_s,
        )

    def RefreshToken(self, request: pb.RefreshTokenRequest, _call: Call) -> pb.RefreshTokenResponse:
        tokens = self._sessions.refresh(request.refresh_token)
        return pb.RefreshTokenResponse(
            access_token=tokens.access_token, refresh_token=tokens.refresh_token, expires_in=tokens.expires_in_s
        )

    def LogOut(self, _request: pb.LogOutRequest, call: Call) -> pb.LogOutResponse:
        self._sessions.end(call.caller.session_id)
        return pb.LogOutResponse()

    def GetProfile(self, _request: pb.GetProfileRequest, call: Call) -> pb.Profile:
        user, memberships = self._accounts.profile(call.caller.user_id)
        return pb.Profile(user=_user(user), memberships=[_membership(one) for one in memberships])

    def UpdateProfile(self, _request: pb.UpdateProfileRequest, _call: Call) -> pb.Profile:
        raise Unavailable("this is being built")

    def ListSessions(self, _request: pb.ListSessionsRequest, _call: Call) -> pb.ListSessionsResponse:
        raise Unavailable("this is being built")

    def RevokeSession(self, _request: pb.RevokeSessionRequest, _call: Call) -> pb.RevokeSessionResponse:
        raise Unavailable("this is being built")

    def SendEmailVerification(self, _request: pb.SendEmailVerificationRequest, _call: Call) -> pb.SendEmailVerificationResponse:
        raise Unavailable("this is being built")

    def VerifyEmail(self, _request: pb.VerifyEmailRequest, _call: Call) -> pb.VerifyEmailResponse:
        raise Unavailable("this is being built")

    def ForgotPassword(self, _request: pb.ForgotPasswordRequest, _call: Call) -> pb.ForgotPasswordResponse:
        raise Unavailable("this is being built")

    def ResetPassword(self, _request: pb.ResetPasswordRequest, _call: Call) -> pb.ResetPasswordResponse:
        raise Unavailable("this is being built")

    def ChangePassword(self, _request: pb.ChangePasswordRequest, _call: Call) -> pb.ChangePasswordResponse:
        raise Unavailable("this is being built")

    def ChangeEmail(self, _request: pb.ChangeEmailRequest, _call: Call) -> pb.ChangeEmailResponse:
        raise Unavailable("this is being built")

    def ConfirmEmailChange(self, _request: pb.ConfirmEmailChangeRequest, _call: Call) -> pb.ConfirmEmailChangeResponse:
        raise Unavailable("this is being built")

    def GetJwks(self, _request: pb.GetJwksRequest, _call: Call) -> HttpBody:
        return HttpBody(content_type="application/json", data=self._sessions.jwks().encode())


def _user(user: User) -> pb.User:
    return pb.User(id=str(user.id), email=user.email, name=user.name)


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
