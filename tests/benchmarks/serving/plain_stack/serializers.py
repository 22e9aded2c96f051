"""Validation with Django REST framework's own fields."""

from rest_framework import serializers

TYPES = ("card_payment", "transfer", "cash_withdrawal", "cash_deposit", "direct_debit")
CHANNELS = ("pos", "ecom", "atm", "moto", "branch", "mobile", "web", "api")


class TransactionSerializer(serializers.Serializer):
    """The transaction of our public API."""

    transaction_id = serializers.RegexField(r"^[A-Za-z0-9._:-]{1,64}$")
    occurred_at = serializers.DateTimeField()
    amount_minor = serializers.IntegerField(min_value=0, max_value=10**12)
    currency = serializers.RegexField(r"^[A-Z]{3}$")
    type = serializers.ChoiceField(TYPES)
    channel = serializers.ChoiceField(CHANNELS)
    customer_id = serializers.CharField(max_length=64, required=False)
    account_id = serializers.CharField(max_length=64, required=False)
    card_id = serializers.CharField(max_length=64, required=False)
    merchant_id = serializers.CharField(max_length=64, required=False)
    terminal_id = serializers.CharField(max_length=64, required=False)
    device_id = serializers.CharField(max_length=64, required=False)
    counterparty_id = serializers.CharField(max_length=64, required=False)
    mcc = serializers.RegexField(r"^\d{4}$", required=False)
    country = serializers.RegexField(r"^[A-Z]{2}$", required=False)
    home_country = serializers.RegexField(r"^[A-Z]{2}$", required=False)
    latitude = serializers.FloatField(min_value=-90, max_value=90, required=False)
    longitude = serializers.FloatField(min_value=-180, max_value=180, required=False)
    card_present = serializers.BooleanField(required=False)
    is_recurring = serializers.BooleanField(required=False)
    ip = serializers.CharField(max_length=64, required=False)

    def validate(self, attrs: dict) -> dict:
        if not any(attrs.get(name) for name in ("customer_id", "account_id", "card_id")):
            raise serializers.ValidationError("one of customer_id, account_id, card_id is required")
        return attrs
