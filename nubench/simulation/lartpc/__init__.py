"""LArTPC charge readout: from deposits to ADC counts."""
